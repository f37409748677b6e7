// The border between the CPU driver, compiled once, and the tile walk, compiled once per instruction set.
// Plain structs and raw memory only: nothing here may carry inline code across that border.
#pragma once

#include <cstddef>
#include <cstdint>

#include "projection.h"

namespace drrproj {

// A tile is walked block by block; a block's voxels are staged in a brick that stays in the L2 cache.
constexpr int kBlockSlabs = 32;
constexpr int kRunSlabs = 16;  // staged together where x is the contiguous axis
constexpr int kTileRays = 4096;
constexpr int kBrickFloats = 256 * 1024;
constexpr int kPatchLanes = 16;                       // packets of so many lanes read patches
constexpr int kLineFloats = 16;                       // rows of a brick begin where lines of the cache begin
constexpr int kMostPitch = 1024;                      // from row to row of a brick, floats
constexpr int kBrickSlack = 8 * kMostPitch + 64;      // patches may read this far past a brick's end
constexpr int kBrickLead = kMostPitch + kLineFloats;  // and squares this far before its beginning
constexpr int kUniformCodes = kBrickFloats / 8;       // one for 8 columns of a row
// Packets of a tile with their extents: 80 bytes a ray, a flag among the 64 of each eight, and bounds of each eight.
constexpr int kPacketBytes = kTileRays * 88 + kTileRays / 8 * 136;

// How the voxels that a packet meets in a slab are read: all of so many rows of as many registers of lanes at most, or
// each lane's own. With the cycles that it takes, measured on Zen 4: the cheapest that holds all of them is taken.
enum Reading : std::int32_t {
    one_row,
    tall_patch_of_4,
    wide_patch_of_4,
    tall_patch_of_6,
    tall_patch_of_8,
    wide_patch_of_8,
    wide_patch_of_12,
    anywhere
};
constexpr int kReadings = 8;
struct ReadingShape {
    int rows, registers;
    double cycles;
};
constexpr ReadingShape kPatches[kReadings - 1] = {{1, 2, 9.0},  {4, 1, 22.0}, {2, 2, 28.0}, {6, 1, 30.0},
                                                  {8, 1, 34.0}, {4, 2, 42.0}, {6, 2, 52.0}};
constexpr double kAnywhereCycles = 75.0, kAnywhereCyclesOfFewLanes = 40.0;

// Those rays of one view that have one steepest axis, in the index space of one grid, voxel i covering [i, i + 1).
struct Plan {
    int axis_x;          // the steepest axis
    int axis_u, axis_v;  // the others; u is the one whose voxels lie closer together, so that rows are read in runs
    bool upright;        // x is the contiguous axis
    double source[3];    // for a parallel beam, the direction towards the source
    bool parallel;
    double first_pixel[3], row_step[3], column_step[3];
    double metric[6];  // |world d|^2 of an index-space d: xx, yy, zz, 2xy, 2xz, 2yz
    // Lanes follow detector columns, or rows when `lanes_are_rows`; line `l` at lane `j` is the pixel
    // (l + round(shear * j), j) or its transpose, so that a packet's voxels lie along the contiguous axis.
    bool lanes_are_rows;
    double shear;
    double drift;  // about how far the rays of the next line move along u for each voxel along v
    std::int64_t first_line, lines, lanes;
    int tile_lines, tile_lanes;
    int packet_lines;       // lines that a packet's rays come from
    bool lines_share_u;     // rays of different lines differ in v alone
    bool lanes_share_v;     // and rays of different lanes in u alone
    int block_slabs;        // where an image is walked
    int label_block_slabs;  // where labels alone are
    // Not staged, because rays meet few of the voxels between them.
    bool image_in_place, labels_in_place;
};

struct Tile {
    std::int64_t line, lane;
    int lines, lanes;
};

// Where a grid holds anything but zero: one byte for each cube of kCellVoxels^3 voxels, last axis first. Null: unknown.
constexpr int kCellVoxels = 16;
struct Cells {
    const std::uint8_t* hold_something;
    std::int64_t count[3];
};

// What one tile walk reads and writes. Image and label share one plan; either may be null.
struct Job {
    Plan plan;
    const Grid* image;
    const Grid* label;
    Attenuation attenuation;
    const std::int32_t* index_of_small_value;  // 1 + index, or 0; by the value as an unsigned 8 or 16-bit number
    bool wide_codes;                           // there are more values than 8 bits tell apart
    Structures structures;
    Cells image_cells, label_cells;
    std::int64_t rows, columns;
    Outputs outputs;                                     // this view's part of them
    std::int64_t image_stride, mask_stride, box_stride;  // from a structure to the next, in elements
};

// What a tile collects per label value. Zeros before a tile, and after it.
struct Collected {
    float* numbers;               // kCollectedFloats for each value
    std::int32_t* slot_of_value;  // by 1 + index of the value
    std::int32_t* value_of_slot;  // 1 + index, by slot
    std::int32_t* slots;          // for a list of slots
    std::uint64_t* touched;       // kTouchedWords for each slot: a bit for each packet
};
constexpr int kTouchedWords = kTileRays / 8 / 64;
constexpr int kCollectedFloats = 4 * (kTileRays + kLineFloats);

struct Scratch {
    float* image[2];        // kBrickFloats each, with kBrickLead before and kBrickSlack behind, zeroed once
    void* label[2];         // kBrickFloats + kBrickSlack codes of 8 or 16 bits, zeroed once
    std::int32_t* uniform;  // kUniformCodes
    void* packets;          // kPacketBytes, aligned to 64
    Collected collected;
};

using TraceTile = void (*)(const Job&, const Tile&, const Scratch&);
// Mark those of the image's cells that hold anything and have this number along the grid's widest stride.
using LookIntoImage = void (*)(const Job&, std::int64_t, std::uint8_t* hold_something, const Scratch&);

namespace baseline {
void trace_tile(const Job&, const Tile&, const Scratch&);
void look_into_image(const Job&, std::int64_t, std::uint8_t*, const Scratch&);
}  // namespace baseline
namespace avx2 {
void trace_tile(const Job&, const Tile&, const Scratch&);
void look_into_image(const Job&, std::int64_t, std::uint8_t*, const Scratch&);
}  // namespace avx2
namespace avx512 {
void trace_tile(const Job&, const Tile&, const Scratch&);
void look_into_image(const Job&, std::int64_t, std::uint8_t*, const Scratch&);
}  // namespace avx512

}  // namespace drrproj
