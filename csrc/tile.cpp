// The walk of one tile of rays. Compiled once per instruction set, into a namespace of its own; its parts are headers,
// which nothing else includes:
//
//   rays.h            the tile's rays, in packets of neighbouring ones
//   block.h           which box of voxels is staged next; cells.h skips those that hold nothing
//   brick.h           staging it, as attenuation and codes of labels
//   block_walk.h      the packets' walk through it, each by
//     packet_walk.h     coordinate.h, where the rays are, places.h, what they read, and the shares of walk.h, or by
//     four_lines.h      the same for four lines along the grid at once
//   in_place.h        or, for rays that lie far apart, the walk without staging
//   collection.h      what rays collect of labels; uniform.h finds what needs no walk
//   results.h         and from there to the outputs
#include <cstdint>
#include <type_traits>

#include "block.h"
#include "block_walk.h"
#include "brick.h"
#include "cells.h"
#include "collection.h"
#include "in_place.h"
#include "job.h"
#include "rays.h"
#include "results.h"
#include "steepest.h"
#include "walk.h"

namespace drrproj {
namespace DRRPROJ_ISA {
namespace {

void trace(const Job& job, const Tile& tile, const Scratch& scratch);

void trace_halves(const Job& job, const Tile& tile, const Scratch& scratch) {
    Tile first = tile, second = tile;
    if (tile.lanes > tile.lines) {
        first.lanes = tile.lanes / 2;
        second.lanes -= first.lanes;
        second.lane += first.lanes;
    } else {
        first.lines = tile.lines / 2;
        second.lines -= first.lines;
        second.line += first.lines;
    }
    trace(job, first, scratch);
    trace(job, second, scratch);
}

// Stage block after block, and walk the tile's packets through each.
void walk_blocks(Walk& walk, const Scratch& scratch, ChosenBlocks& chosen, Collection& collection) {
    const Job& job = walk.job;
    const Plan& plan = job.plan;
    const Grid& grid = job.image ? *job.image : *job.label;
    const std::int64_t last = static_cast<std::int64_t>(walk.end);
    std::int64_t x = static_cast<std::int64_t>(walk.begin);
    const int most_slabs = job.image ? plan.block_slabs : plan.label_block_slabs;
    // Blocks of an upright box begin where lines of memory begin. Small volumes lie at addresses that change from run
    // to run, and the last bits of the result must not change with them; large ones that numpy made are mapped whole,
    // always alike.
    constexpr std::int64_t kMappedBytes = std::int64_t{32} << 20;
    const std::int64_t stride_x = grid.stride[plan.axis_x], number_bytes = size_of(grid.type);
    const bool by_lines = plan.upright && grid.size[0] * grid.size[1] * grid.size[2] * number_bytes > kMappedBytes;
    const std::int64_t first = by_lines ? static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(grid.voxels) /
                                                                    static_cast<std::uintptr_t>(number_bytes))
                                        : grid.size[plan.axis_x];
    const auto slabs_at = [&](std::int64_t plane) {
        if (!plan.upright) return most_slabs;
        const auto in_block = static_cast<int>((stride_x < 0 ? first - plane : first + plane) % most_slabs);
        return stride_x < 0 ? in_block + 1 : most_slabs - in_block;
    };
    int slabs = slabs_at(x);
    // Choose the next block that meets a ray, from plane x on; false when there is none.
    const auto next_block = [&](Block& block) {
        while (x < last) {
            if (slabs > last - x) slabs = static_cast<int>(last - x);
            const bool meets = chosen.choose(walk, grid, x, slabs, block);
            if (meets && block.box.slabs == 0) {
                slabs = (slabs + 1) / 2;
                continue;
            }
            x += slabs;
            slabs = slabs_at(x);
            if (meets && may_hold_something(job, region_of(block.box))) return true;
        }
        return false;
    };
    Block blocks[2] = {};
    Staging staging[2];
    // An upright box is staged when the one before it has been walked: one brick serves both and stays in the cache.
    const int other = plan.upright ? 0 : 1;
    float* const images[2] = {scratch.image[0], scratch.image[other]};
    void* const labels[2] = {scratch.label[0], scratch.label[other]};
    for (int parity = 0; parity < 2; ++parity) {
        blocks[parity].parity = parity;
        blocks[parity].image = images[parity];
        blocks[parity].label = labels[parity];
    }
    const auto begin_staging = [&](int parity) {
        const bool more = next_block(blocks[parity]);
        staging[parity] = more ? Staging(job, blocks[parity].box, images[parity], labels[parity],
                                         walk.count * ((blocks[parity].box.slabs + kAskSlabs - 1) / kAskSlabs))
                               : Staging();
        return more;
    };
    int now = 0;
    bool more = begin_staging(now);
    while (more) {
        staging[now].finish();
        more = begin_staging(1 - now);
        const auto walk_all = [&](auto what, auto code) {
            walk_packets<decltype(what)::value, decltype(code)>(walk, blocks[now], collection, staging[1 - now],
                                                                scratch.uniform);
        };
        constexpr std::integral_constant<int, kImage> image;
        constexpr std::integral_constant<int, kLabel> label;
        constexpr std::integral_constant<int, kLabel | kDepth> deep_label;
        constexpr std::integral_constant<int, kImage | kLabel | kIntegral> shares;
        constexpr std::integral_constant<int, kImage | kLabel | kIntegral | kDepth> everything;
        constexpr std::uint8_t narrow = 0;
        constexpr std::uint16_t wide = 0;
        if (staging[now].image_seen && staging[now].label_seen) {
            if (job.wide_codes)
                walk_all(everything, wide);
            else if (collection.with_depth())
                walk_all(everything, narrow);
            else
                walk_all(shares, narrow);
        } else if (staging[now].image_seen) {
            walk_all(image, narrow);
        } else if (staging[now].label_seen) {
            if (collection.with_depth())
                job.wide_codes ? walk_all(deep_label, wide) : walk_all(deep_label, narrow);
            else
                job.wide_codes ? walk_all(label, wide) : walk_all(label, narrow);
        }
        now = 1 - now;
    }
}

// Walk those rays of the tile that have the plan's steepest axis.
void trace(const Job& job, const Tile& tile, const Scratch& scratch) {
    const Grid& grid = job.image ? *job.image : *job.label;
    const int axis_x = job.plan.axis_x, axis_u = job.plan.axis_u, axis_v = job.plan.axis_v;
    Packet* const packets = static_cast<Packet*>(scratch.packets);
    Extents& extents = *reinterpret_cast<Extents*>(packets + kMostPackets);
    Walk walk{job, axis_x, axis_u, axis_v, grid.size[axis_x], packets, extents, 0, 0.0, 0.0, false, 0, {}, {}};
    set_up(walk, tile);
    if (walk.count == 0) return;
    const Outputs& outputs = job.outputs;
    const bool staged = (job.image && !job.plan.image_in_place) || (job.label && !job.plan.labels_in_place);
    if (staged && tile.lines * tile.lanes > 1 && !fits(walk)) return trace_halves(job, tile, scratch);

    const bool with_integral = outputs.label_line_integral || outputs.background_line_integral;
    // Shares of many values are rare: their walk collects everything, which spares compiling another.
    const bool with_depth = outputs.entry_depth || outputs.exit_depth || (job.wide_codes && with_integral);
    Collection collection(scratch.collected, quantities(with_integral, with_depth));
    const bool in_turns = staged && job.image && job.label && !with_integral;
    ChosenBlocks chosen(in_turns && job.plan.block_slabs == job.plan.label_block_slabs);
    const auto walk_part = [&](Walk& part) {
        const bool image_in_place = part.job.image && job.plan.image_in_place;
        const bool labels_in_place = part.job.label && job.plan.labels_in_place;
        if (image_in_place) walk_image_in_place(part);
        if (labels_in_place)
            with_depth ? walk_labels_in_place<kLabel | kDepth>(part, collection)
                       : walk_labels_in_place<kLabel>(part, collection);
        if (!image_in_place && !labels_in_place) walk_blocks(part, scratch, chosen, collection);
    };
    if (in_turns) {
        // One brick serves the cache better than two: each is walked on its own where labels need no image.
        Job part = job;
        part.label = nullptr;
        Walk walk_of_part{part,       axis_x,     axis_u,   axis_v,        walk.size_x,        packets, extents,
                          walk.count, walk.begin, walk.end, walk.in_fours, walk.fours_in_line, {},      {}};
        walk_part(walk_of_part);
        part.image = nullptr;
        part.label = job.label;
        chosen.start_again();
        walk_part(walk_of_part);
    } else {
        walk_part(walk);
    }
    write_line_integrals(walk);
    if (job.label) write_structures(walk, collection, scratch.collected.slots);
    if (outputs.background_line_integral) write_background(walk, collection);
    collection.clear();
}

}  // namespace

void trace_tile(const Job& job, const Tile& tile, const Scratch& scratch) {
    // Corners reach half a pixel further, where the rounding of sheared lines may go.
    Corners corners;
    for (int corner = 0; corner < 8; ++corner) {
        const double line = static_cast<double>(tile.line + (corner & 1 ? tile.lines - 1 : 0));
        const double lane = static_cast<double>(tile.lane + (corner & 2 ? tile.lanes - 1 : 0));
        const double across = line + job.plan.shear * lane + (corner & 4 ? 0.5 : -0.5);
        double p[3], d[3];
        ray_of(job.plan, job.plan.lanes_are_rows ? lane : across, job.plan.lanes_are_rows ? across : lane, p, d);
        corners.include(d);
    }
    if (corners.may_have(job.plan.axis_x)) trace(job, tile, scratch);
}

void look_into_image(const Job& job, std::int64_t number, std::uint8_t* hold_something, const Scratch& scratch) {
    const Grid& grid = *job.image;
    const Cells& cells = job.image_cells;
    Box box{};
    box.axis_x = job.plan.axis_x;
    box.axis_u = job.plan.axis_u;
    box.axis_v = job.plan.axis_v;
    box.x = number * kCellVoxels;
    box.slabs = static_cast<int>(smaller(std::int64_t{kCellVoxels}, grid.size[box.axis_x] - box.x));
    box.width = box.pitch = kCellVoxels;
    box.rows = 1;
    std::int64_t at[3] = {};
    at[box.axis_x] = number;
    for (std::int64_t v = 0; v < grid.size[box.axis_v]; ++v) {
        at[box.axis_v] = v / kCellVoxels;
        for (std::int64_t u = 0; u < grid.size[box.axis_u]; u += kCellVoxels) {
            at[box.axis_u] = u / kCellVoxels;
            const std::int64_t cell = (at[0] * cells.count[1] + at[1]) * cells.count[2] + at[2];
            for (int s = 0; s < box.slabs; ++s) box.u[s] = u, box.v[s] = v;
            if (!hold_something[cell]) hold_something[cell] = stage_image(job, box, 0, scratch.image[0]);
        }
    }
}

}  // namespace DRRPROJ_ISA
}  // namespace drrproj
