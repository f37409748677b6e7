// The walk of all packets of a tile through a staged block, each in the way that fits it.
#pragma once

#include <cstdint>

#include "block.h"
#include "brick.h"
#include "cells.h"
#include "collection.h"
#include "four_lines.h"
#include "job.h"
#include "lanes.h"
#include "packet_walk.h"
#include "places.h"
#include "rays.h"
#include "uniform.h"

namespace drrproj {
namespace DRRPROJ_ISA {
namespace {

// What each packet may meet of a block's brick.
struct Reaches {
    std::int32_t first_row[kMostPackets], last_row[kMostPackets];
    std::int32_t first_stretch[kMostPackets], last_stretch[kMostPackets];
};

void find_reaches(const Walk& walk, const Block& block, Reaches& reaches) {
    const Box& box = block.box;
    const int last = box.slabs - 1;
    const double before = block.x - walk.begin;
    // Corners that follow the rays are rounded down, each on its own: by less than one voxel.
    const double margin = (box.upright ? 0.0 : 1.0) + static_cast<double>(kBoxMargin);
    const auto find = [&](const Bound& lowest, const Bound& highest, double origin, const float* corner, int size,
                          int voxels, std::int32_t* from, std::int32_t* to) {
        const double first = origin + static_cast<double>(corner[0]), most = size - 1;
        const double end = origin + static_cast<double>(corner[last]), per_voxel = 1.0 / voxels;
        // Compilers turn it into vectors.
        const auto within = [&](double voxel) { return smaller(larger(voxel, 0.0), most) * per_voxel; };
        for (int i = 0; i < walk.count; ++i) {
            const double low = smaller(lowest.at(i, before) - first, lowest.at(i, before + last) - end);
            from[i] = static_cast<std::int32_t>(within(low + smaller(lowest.change[i], 0.0) - margin));
        }
        for (int i = 0; i < walk.count; ++i) {
            const double high = larger(highest.at(i, before) - first, highest.at(i, before + last) - end);
            to[i] = static_cast<std::int32_t>(within(high + larger(highest.change[i], 0.0) + margin));
        }
    };
    const Extents& extents = walk.extents;
    find(extents.v_low, extents.v_high, block.v, block.corner_v, box.rows, 1, reaches.first_row, reaches.last_row);
    find(extents.u_low, extents.u_high, block.u, block.corner_u, box.pitch, kStretch, reaches.first_stretch,
         reaches.last_stretch);
}

// The one code that a packet meets in a block, or kMixed.
int uniform_code(const Reaches& reaches, int index, const std::int32_t* codes, int stretches) {
    const int from = reaches.first_stretch[index], to = reaches.last_stretch[index];
    codes += reaches.first_row[index] * stretches;
    const std::int32_t code = codes[from];
    for (int row = reaches.first_row[index]; row <= reaches.last_row[index]; ++row, codes += stretches)
        for (int i = from; i <= to; ++i)
            if (codes[i] != code) return kMixed;
    return code;
}

template <int What, class Code>
void walk_packets(const Walk& walk, const Block& block, Collection& collection, Staging& next, std::int32_t* uniform) {
    const Extents& extents = walk.extents;
    const Box& box = block.box;
    // Where nothing but labels is asked for, one label from end to end needs no walk.
    constexpr bool Skips = !(What & kImage);
    Reaches reaches;
    if (Skips) {
        find_uniform(box, static_cast<const Code*>(block.label), uniform);
        find_reaches(walk, block, reaches);
    }
    const bool known = !Skips && (walk.job.image_cells.hold_something || walk.job.label_cells.hold_something);
    const double begin = block.x, end = block.x + box.slabs;
    const auto meets_nothing = [&](int i) {
        return !extents.relevant[block.parity][i] || (known && !may_hold_something(walk.job, region_of(walk, box, i)));
    };
    const auto is_partial = [&](int i) { return extents.begin_high[i] > begin || extents.end_low[i] < end; };
    const auto each_of_four = [](int first, const auto& is_so) {
        return is_so(first) && is_so(first + 1) && is_so(first + 2) && is_so(first + 3);
    };
    Rows rows[kFour];
    int lines_of_rows = -1;
    for (int i = 0; i < walk.count; ++i) {
        next.step();
        if (What == kImage && walk.in_fours && i % kFour == 0) {
            const auto is_whole = [&](int k) { return extents.relevant[block.parity][k] && !is_partial(k); };
            // All or none of them: the last bits must not depend on what is known to be empty.
            if (each_of_four(i, is_whole)) {
                if (!each_of_four(i, meets_nothing)) {
                    if (!walk.job.plan.lanes_share_v) {
                        walk_four(walk, block, i, collection, next);
                    } else {
                        if (const int lines = i / (kFour * walk.fours_in_line); lines != lines_of_rows) {
                            for (int line = 0; line < kFour; ++line) find_rows(walk, block, i + line, rows[line]);
                            lines_of_rows = lines;
                        }
                        if (kWindowsAreFast)
                            walk_four_rows(walk, block, i, rows, collection, next);
                        else
                            weigh_four_rows(walk, block, i, rows, collection, next);
                    }
                }
                i += kFour - 1;
                continue;
            }
        }
        if (meets_nothing(i)) continue;
        const bool partial = is_partial(i);
        if (Skips) {
            const int code = uniform_code(reaches, i, uniform, box.pitch / kStretch);
            if (code != kMixed && (code == 0 || !partial)) {
                next.ask((box.slabs + kAskSlabs - 1) / kAskSlabs);
                if (code == 0) continue;
                Following<What> following(collection, i, static_cast<float>(walk.size_x), index_of_codes(walk.job),
                                          code);
                following.stay(box.slabs);
                following.settle(static_cast<float>(end));
                continue;
            }
        }
        Places places;
        find_places<(What & kLabel) != 0>(walk, block, i, places);
        if (partial)
            walk_packet<true, What, Code>(walk, block, i, places, bits_of_slabs(box), collection, next);
        else
            walk_packet<false, What, Code>(walk, block, i, places, bits_of_slabs(box), collection, next);
    }
}

}  // namespace
}  // namespace DRRPROJ_ISA
}  // namespace drrproj
