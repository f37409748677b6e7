// What a packet reads of a brick, slab by slab: how, and from where.
#pragma once

#include <cstdint>

#include "block.h"
#include "brick.h"
#include "coordinate.h"
#include "job.h"
#include "lanes.h"
#include "rays.h"

namespace drrproj {
namespace DRRPROJ_ISA {
namespace {

// For each slab of a block: how a packet reads it, and from where.
struct alignas(64) Places {
    std::int32_t at[kBlockSlabs];                    // of the lowest row and column read, in the brick
    float from_u[kBlockSlabs], from_v[kBlockSlabs];  // kRound less that column and row
    // Where labels are walked, slab after slab: the reading, and what of it the packet may meet.
    std::int32_t reading[kBlockSlabs], rows[kBlockSlabs], column[kBlockSlabs], last_column[kBlockSlabs];
    // By reading: a bit for each slab. Where labels are walked, of one_row alone.
    std::uint32_t read_so[kReadings];
};

template <bool Label>
void find_places(const Walk& walk, const Block& block, int index, Places& places) {
    const Box& box = block.box;
    const Extents& extents = walk.extents;
    float low[2], high[2], low_change[2], high_change[2];
    const auto bound = [&](int which, const Bound& lowest, const Bound& highest, double origin) {
        low_change[which] = static_cast<float>(lowest.change[index]);
        high_change[which] = static_cast<float>(highest.change[index]);
        const double slabs = block.x - walk.begin;
        low[which] =
            static_cast<float>(lowest.at(index, slabs) - origin) + smaller(0.0f, low_change[which]) - kPacketMargin;
        high[which] =
            static_cast<float>(highest.at(index, slabs) - origin) + larger(0.0f, high_change[which]) + kPacketMargin;
    };
    bound(0, extents.u_low, extents.u_high, block.u);
    bound(1, extents.v_low, extents.v_high, block.v);
    const Lanes one(1.0f), width(static_cast<float>(N)), rows_of_slab(static_cast<float>(box.rows));
    for (std::uint32_t& slabs : places.read_so) slabs = 0;
    for (int s = 0; s < box.slabs; s += N) {
        const Lanes slab = Lanes::load(kSlabNumbers + s);
        const auto at = [&](const float (&bounds)[2], const float (&changes)[2], int which) {
            return floor(multiply_add(slab, Lanes(changes[which]), Lanes(bounds[which])));
        };
        const Lanes corner_u = Lanes::load(block.corner_u + s), corner_v = Lanes::load(block.corner_v + s);
        const Lanes row = at(low, low_change, 1), rows = at(high, high_change, 1) - row + one;
        const Lanes from = at(low, low_change, 0) - corner_u, to = at(high, high_change, 0) - corner_u;
        const auto is_at_most = [](Lanes a, int most) { return less(a, Lanes(static_cast<float>(most) + 0.5f)); };
        const Mask fits[] = {is_at_most(to - from, N - 1), is_at_most(to - from, 2 * N - 1)};
        Lanes reading(static_cast<float>(Reading::anywhere)), breadth = width + width;
#pragma GCC unroll 8
        for (int i = kHasPatches ? Reading::anywhere - 1 : Reading::one_row; i >= 0; --i) {
            const Mask possible = fits[kPatches[i].registers - 1] & is_at_most(rows, kPatches[i].rows);
            reading = choose(possible, Lanes(static_cast<float>(i)), reading);
            breadth = choose(possible, Lanes(static_cast<float>(kPatches[i].registers * N)), breadth);
        }
        for (int i = 0; i < kReadings; ++i)
            if (i == Reading::one_row || (!Label && (kHasPatches || i == Reading::anywhere)))
                places.read_so[i] |= bits(equal(reading, Lanes(static_cast<float>(i)))) << s;
        // Loads that straddle no lines are faster: begin where a line begins, if what is read still holds all.
        const Lanes line = floor(from / width) * width, column = choose(less(to - line, breadth), line, from);
        const Lanes row_of_brick = multiply_add(slab, rows_of_slab, row - corner_v);
        to_index(multiply_add(row_of_brick, Lanes(static_cast<float>(box.pitch)), column)).store(places.at + s);
        (Lanes(kRound) - column - corner_u).store(places.from_u + s);
        (Lanes(kRound) - row).store(places.from_v + s);
        if (!Label) continue;
        to_index(reading).store(places.reading + s);
        to_index(rows).store(places.rows + s);
        to_index(from - column).store(places.column + s);
        to_index(to - column).store(places.last_column + s);
    }
}

}  // namespace
}  // namespace DRRPROJ_ISA
}  // namespace drrproj
