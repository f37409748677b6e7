// What a projection is made of, as plain memory: grids, views, outputs. No allocation, no Python.
#pragma once

#include <cstdint>

namespace drrproj {

enum class NumberType : std::int32_t { int8, uint8, int16, uint16, int32, uint32, int64, uint64, float32, float64 };

// Of each number in bytes. Static: every instruction set keeps its own.
[[maybe_unused]] static constexpr std::int64_t size_of(NumberType type) {
    constexpr std::int64_t sizes[] = {1, 1, 2, 2, 4, 4, 8, 8, 4, 8};
    return sizes[static_cast<int>(type)];
}

// A 3-D array in memory and its place in the world. Strides are in bytes and may be negative.
struct Grid {
    const void* voxels;
    NumberType type;
    std::int64_t size[3];
    std::int64_t stride[3];
    double voxel_from_world[16];  // row-major; voxel centres at integers
    double world_from_voxel[16];
};

// mu(hu) = height + slope * (hu - knot), of the last bend whose knot lies below hu, and 0 where none does. With no
// bends the voxels are attenuation already.
struct Attenuation {
    const float* knot;
    const float* height;
    const float* slope;
    std::int32_t bends;
};

// What a label volume's voxels mean. `values` ascend, and any other value is background. A structure is reported on its
// own: it is where the voxels have one of some values, the indices from first_value[i] to first_value[i + 1] in
// `value_indices`; a value may belong to several structures.
struct Structures {
    const std::int64_t* values;
    std::int64_t value_count;
    const std::int64_t* first_value;
    const std::int64_t* value_indices;
    const float* min_path_mm;  // a mask is where the path is longer
    std::int64_t count;
};

// A volume or label volume or both, ready to be projected. The memory belongs to the caller.
struct Scene {
    const Grid* image;
    const Grid* label;
    Attenuation attenuation;
    Structures structures;
};

// World matrices of the views, row-major 4x4: source, centre of pixel (0, 0), step to next row, step to next column.
struct Views {
    const double* matrices;
    std::int64_t count, rows, columns;
};

// Where results go; a null pointer is an output nobody asked for. All start as zeros, depths as what they are where a
// structure is not met.
struct Outputs {
    float* line_integral;             // (views, rows, columns)
    float* path_length;               // (structures, views, rows, columns), mm
    std::uint8_t* mask;               // (structures, views, rows, ceil(columns / 8)), first column in the highest bit
    float* label_line_integral;       // (structures, views, rows, columns): a structure's share of the line integral
    float* background_line_integral;  // (views, rows, columns): what no structure has of it
    // (structures, views, rows, columns), mm along the ray, from its source on, of a parallel beam from its pixel on.
    float* entry_depth;
    float* exit_depth;
    // (structures, views, 4), where the path is not zero: rows less the first row, last row and one; so of columns.
    std::int32_t* box;
};

}  // namespace drrproj
