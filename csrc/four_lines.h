// Lines of rays that follow the grid share coordinates: four of them are walked at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "block.h"
#include "brick.h"
#include "collection.h"
#include "coordinate.h"
#include "job.h"
#include "lanes.h"
#include "packet_walk.h"
#include "places.h"
#include "rays.h"
#include "walk.h"

namespace drrproj {
namespace DRRPROJ_ISA {
namespace {

// Four lines whose rays differ in v alone: where each of them meets one row of voxels, they cross in u together.
__attribute__((noinline)) void walk_four(const Walk& walk, const Block& block, int first, Collection& collection,
                                         Staging& next) {
    const Box& box = block.box;
    const int slabs = box.slabs, middle = slabs / 2;
    const float* const steps = kSlabs.from(middle);
    Places places[kFour];
    std::uint32_t any = 0;
    for (int line = 0; line < kFour; ++line) {
        find_places<false>(walk, block, first + line, places[line]);
        any |= places[line].read_so[Reading::one_row];
    }
    const Packet& packet = walk.packets[first];
    const Coordinate u = coordinate_of(packet.u, packet.du, packet.motion_u, packet.slope_u, block.x + middle, block.u);
    const Lanes one(1.0f);
    Lanes sum_entry[kFour], sum_exit[kFour];
    for (int line = 0; line < kFour; ++line) sum_entry[line] = sum_exit[line] = Lanes(0.0f);
    for (int s = 0; s < slabs;) {
        next.ask(kFour);
        for (const int pause = smaller(s + kAskSlabs, slabs); s < pause; ++s) {
            if (!(any >> s & 1)) continue;
            // Lines that meet one row read the same columns.
            int some_line = 0;
            while (!(places[some_line].read_so[Reading::one_row] >> s & 1)) ++some_line;
            const Lanes step(steps[s]);
            const Standing in_u = standing_at(u, step, Lanes(places[some_line].from_u[s]));
            const Lanes entry = in_u.leaves, exit = one - entry;
            const Index entry_u = in_u.voxel() + u.voxel, exit_u = entry_u + u.step;
            for (int line = 0; line < kFour; ++line) {
                if (!(places[line].read_so[Reading::one_row] >> s & 1)) continue;
                const float* const row = block.image + places[line].at[s];
                const Windows<float> in_row(row);
                sum_entry[line] = multiply_add(entry, as_lanes(in_row.at(entry_u)), sum_entry[line]);
                sum_exit[line] = multiply_add(exit, as_lanes(in_row.at(exit_u)), sum_exit[line]);
            }
        }
    }
    for (int line = 0; line < kFour; ++line) {
        float* const sum = walk.packets[first + line].sum;
        (Lanes::load(sum) + (sum_entry[line] + sum_exit[line])).store(sum);
        if (const std::uint32_t rest = bits_of_slabs(box) & ~places[line].read_so[Reading::one_row])
            walk_packet<false, kImage, std::uint8_t>(walk, block, first + line, places[line], rest, collection, next);
    }
}

// Of a line whose rays share v: for each slab of a block the row of voxels that they are in at its beginning, and what
// share of the slab they stay there.
struct alignas(64) Rows {
    std::int32_t at[kBlockSlabs];  // where the row begins in the brick
    float leaves[kBlockSlabs];
    std::ptrdiff_t to_next;  // from the row to the one behind a crossing
    std::uint32_t crossed;   // a bit for each slab in which they leave the row
};

void find_rows(const Walk& walk, const Block& block, int index, Rows& rows) {
    const Packet& packet = walk.packets[index];
    const Box& box = block.box;
    const int middle = box.slabs / 2;
    const double at = packet.v[0] + (block.x + middle) * packet.dv[0] - block.v, voxel = __builtin_floor(at);
    const Lanes from_centre(static_cast<float>(at - voxel - 0.5)), zero(0.0f), one(1.0f), round(kRound);
    const Lanes motion(packet.motion_v[0]), slope(packet.slope_v[0]);
    const Crossing<Lanes> crossing = crossing_from_slope(slope);
    const Lanes rows_of_slab(static_cast<float>(box.rows)), pitch(static_cast<float>(box.pitch));
    rows.to_next = packet.motion_v[0] < 0.0f ? -box.pitch : box.pitch;
    rows.crossed = 0;
    for (int s = 0; s < box.slabs; s += N) {
        const Lanes slab = Lanes::load(kSlabNumbers + s);
        const Lanes v_at = multiply_add(slab - Lanes(static_cast<float>(middle)), motion, from_centre);
        const Lanes whole = (v_at + round) - round, leaves = crossing_share(v_at - whole, crossing);
        const Lanes row = whole + Lanes(static_cast<float>(voxel)) - Lanes::load(block.corner_v + s);
        to_index(multiply_add(slab, rows_of_slab, row) * pitch).store(rows.at + s);
        leaves.store(rows.leaves + s);
        rows.crossed |= bits(less(leaves, one)) << s;
    }
}

// For each slab of a block the columns that a packet meets in any of its rows.
struct alignas(64) Columns {
    std::int32_t at[kBlockSlabs];  // of the lowest column read, in the brick
    float from_u[kBlockSlabs];     // kRound less that column
    std::uint32_t wide;            // a bit for each slab in which they do not fit two registers
};

void find_columns(const Walk& walk, const Block& block, int index, Columns& columns) {
    const Extents& extents = walk.extents;
    const double slabs = block.x - walk.begin;
    const auto low_change = static_cast<float>(extents.u_low.change[index]);
    const auto high_change = static_cast<float>(extents.u_high.change[index]);
    const float low = static_cast<float>(extents.u_low.at(index, slabs) - block.u) + smaller(0.0f, low_change);
    const float high = static_cast<float>(extents.u_high.at(index, slabs) - block.u) + larger(0.0f, high_change);
    const Lanes margin(kPacketMargin), width(static_cast<float>(N)), two(2.0f * static_cast<float>(N) - 0.5f);
    columns.wide = 0;
    for (int s = 0; s < block.box.slabs; s += N) {
        const Lanes slab = Lanes::load(kSlabNumbers + s), corner = Lanes::load(block.corner_u + s);
        const Lanes from = floor(multiply_add(slab, Lanes(low_change), Lanes(low)) - margin) - corner;
        const Lanes to = floor(multiply_add(slab, Lanes(high_change), Lanes(high)) + margin) - corner;
        // Loads that straddle no lines are faster: begin where a line begins, if what is read still holds all.
        const Lanes line = floor(from / width) * width, column = choose(less(to - line, two), line, from);
        to_index(column).store(columns.at + s);
        (Lanes(kRound) - column - corner).store(columns.from_u + s);
        columns.wide |= bits(~less(to - column, two)) << s;
    }
}

// The slabs of `rest`, which four lines could not be walked through together: each line on its own.
void walk_rest(const Walk& walk, const Block& block, int first, std::uint32_t rest, Collection& collection,
               Staging& next) {
    for (int line = 0; rest && line < kFour; ++line) {
        Places places;
        find_places<false>(walk, block, first + line, places);
        walk_packet<false, kImage, std::uint8_t>(walk, block, first + line, places, rest, collection, next);
    }
}

// Four lines whose rays share u from line to line, and v along each: they cross in u together, and in v one after the
// other.
__attribute__((noinline)) void walk_four_rows(const Walk& walk, const Block& block, int first,
                                              const Rows (&rows)[kFour], Collection& collection, Staging& next) {
    const Box& box = block.box;
    const int slabs = box.slabs, middle = slabs / 2;
    const float* const steps = kSlabs.from(middle);
    Columns columns;
    find_columns(walk, block, first, columns);
    const Packet& packet = walk.packets[first];
    const Coordinate u = coordinate_of(packet.u, packet.du, packet.motion_u, packet.slope_u, block.x + middle, block.u);
    const Lanes one(1.0f);
    Lanes sum_entry[kFour], sum_exit[kFour];
    for (int line = 0; line < kFour; ++line) sum_entry[line] = sum_exit[line] = Lanes(0.0f);
    for (int s = 0; s < slabs;) {
        next.ask(kFour);
        for (const int pause = smaller(s + kAskSlabs, slabs); s < pause; ++s) {
            if (columns.wide >> s & 1) continue;
            const Lanes step(steps[s]);
            const Standing in_u = standing_at(u, step, Lanes(columns.from_u[s]));
            const Lanes leaves_u = in_u.leaves, exit = one - leaves_u;
            const Index entry_u = in_u.voxel() + u.voxel, exit_u = entry_u + u.step;
            for (int line = 0; line < kFour; ++line) {
                const float* const row = block.image + rows[line].at[s] + columns.at[s];
                const Windows<float> in_row(row);
                const Lanes at_entry = as_lanes(in_row.at(entry_u)), behind_u = as_lanes(in_row.at(exit_u));
                if (!(rows[line].crossed >> s & 1)) {
                    sum_entry[line] = multiply_add(leaves_u, at_entry, sum_entry[line]);
                    sum_exit[line] = multiply_add(exit, behind_u, sum_exit[line]);
                    continue;
                }
                const float* const behind = row + rows[line].to_next;
                const Lanes leaves_v(rows[line].leaves[s]);
                const Shares<Lanes> shares = slab_shares(leaves_u, leaves_v);
                const Windows<float> in_next(behind);
                const Lanes at_middle = choose(less(leaves_u, leaves_v), behind_u, as_lanes(in_next.at(entry_u)));
                sum_entry[line] = multiply_add(shares.entry, at_entry, sum_entry[line]);
                sum_entry[line] = multiply_add(shares.middle, at_middle, sum_entry[line]);
                sum_exit[line] = multiply_add(shares.exit, as_lanes(in_next.at(exit_u)), sum_exit[line]);
            }
        }
    }
    for (int line = 0; line < kFour; ++line) {
        float* const sum = walk.packets[first + line].sum;
        (Lanes::load(sum) + (sum_entry[line] + sum_exit[line])).store(sum);
    }
    walk_rest(walk, block, first, bits_of_slabs(box) & columns.wide, collection, next);
}

// Neighbouring rays meet neighbouring columns: the k-th of a packet is in column `first + k`, or in one of the few
// behind it. A row then needs no permutes: it is read from `first` on, from the column behind it and so on, and what is
// read counts as long as each ray is there.
struct alignas(64) Band {
    std::int32_t first[kBlockSlabs];  // in the brick
    float from[kBlockSlabs];          // that column, negative, from the block's origin
    std::int32_t columns[kBlockSlabs];
    std::uint32_t wide;  // a bit for each slab that has more than kMostColumns
    bool descends;       // the k-th ray is the packet's k-th from behind
};
constexpr int kMostColumns = 6;

void find_band(const Packet& packet, const Block& block, Band& band) {
    const Box& box = block.box;
    const double middle = block.x + 0.5 * box.slabs;
    band.descends = packet.u[N - 1] + middle * packet.du[N - 1] < packet.u[0] + middle * packet.du[0];
    const double first = block.u + (band.descends ? N - 1 : 0), per_lane = band.descends ? -1.0 : 1.0;
    double position[N], low[2], high[2];
    for (int i = 0; i < N; ++i) position[i] = packet.u[i] - first - per_lane * i;
    lowest_and_highest(position, packet.du, block.x, low[0], high[0]);
    lowest_and_highest(position, packet.du, block.x + box.slabs, low[1], high[1]);
    const auto low_change = static_cast<float>((low[1] - low[0]) / box.slabs);
    const auto high_change = static_cast<float>((high[1] - high[0]) / box.slabs);
    const Lanes lowest(static_cast<float>(low[0]) + smaller(0.0f, low_change) - kPacketMargin);
    const Lanes highest(static_cast<float>(high[0]) + larger(0.0f, high_change) + kPacketMargin);
    band.wide = 0;
    for (int s = 0; s < box.slabs; s += N) {
        const Lanes slab = Lanes::load(kSlabNumbers + s), one(1.0f), zero(0.0f);
        const Lanes from = floor(multiply_add(slab, Lanes(low_change), lowest));
        const Lanes columns = floor(multiply_add(slab, Lanes(high_change), highest)) - from + one;
        to_index(from - Lanes::load(block.corner_u + s)).store(band.first + s);
        (zero - from).store(band.from + s);
        to_index(columns).store(band.columns + s);
        band.wide |= bits(less(Lanes(static_cast<float>(kMostColumns) + 0.5f), columns)) << s;
    }
}

// How long the rays of a packet are in each of the columns that are read, as shares of a slab.
template <int Count>
struct Stay {
    // Shares below the boundaries between columns: their differences are what the rays spend in each.
    Lanes below[Count - 1];

    Stay(Lanes below_first, Lanes per_column) {
        const Lanes zero(0.0f), one(1.0f);
        for (int k = 0; k < Count - 1; ++k) {
            below[k] = smaller(larger(below_first, zero), one);
            below_first = below_first + per_column;
        }
    }
    Lanes in(int column, Lanes all) const {
        if (column == 0) return below[0];
        return (column == Count - 1 ? all : below[column]) - below[column - 1];
    }
};

// As walk_four_rows, for instruction sets whose permutes take long.
__attribute__((noinline)) void weigh_four_rows(const Walk& walk, const Block& block, int first,
                                               const Rows (&rows)[kFour], Collection& collection, Staging& next) {
    const Box& box = block.box;
    const int slabs = box.slabs, middle = slabs / 2;
    const float* const steps = kSlabs.from(middle);
    const Packet& packet = walk.packets[first];
    Band band;
    find_band(packet, block, band);
    const auto in_order = [&](Lanes lanes) { return band.descends ? reversed(lanes) : lanes; };
    const Coordinate u = coordinate_of(packet.u, packet.du, packet.motion_u, packet.slope_u, block.x + middle, block.u);
    const Lanes zero(0.0f), one(1.0f);
    const Lanes motion = in_order(u.motion), from_middle = in_order(u.middle);
    const Lanes voxel = in_order(to_lanes(u.voxel)) - Lanes::load(kSlabNumbers);
    // A ray is below a boundary before it crosses it, or, where it descends, afterwards.
    const Lanes per_column = in_order(u.crossing.half + u.crossing.half);
    const Mask descends = less(motion, zero);
    const Lanes below_at_middle = multiply_add(Lanes(0.5f), per_column, choose(descends, one, zero));
    Lanes sums[kFour];
    for (Lanes& sum : sums) sum = zero;
    const auto weigh = [&](int s, auto count) {
        constexpr int kCount = decltype(count)::value;
        const Lanes step(steps[s]);
        const Lanes from_column = multiply_add(step, motion, from_middle) + (voxel + Lanes(band.from[s]));
        const Stay<kCount> stay(multiply_add(zero - from_column, per_column, below_at_middle), per_column);
        for (int line = 0; line < kFour; ++line) {
            const float* const row = block.image + rows[line].at[s] + band.first[s];
            if (!(rows[line].crossed >> s & 1)) {
                for (int k = 0; k < kCount; ++k)
                    sums[line] = multiply_add(stay.in(k, one), Lanes::load_anywhere(row + k), sums[line]);
                continue;
            }
            // Of what is below a boundary, what comes before the rays leave the row; of all, by the same formula.
            const float* const behind = row + rows[line].to_next;
            const Lanes leaves(rows[line].leaves[s]), later = one - leaves;
            const auto before = [&](Lanes below) {
                return choose(descends, larger(below - later, zero), smaller(below, leaves));
            };
            Stay<kCount> in_row = stay;
            for (Lanes& below : in_row.below) below = before(below);
            for (int k = 0; k < kCount; ++k) {
                const Lanes share = in_row.in(k, before(one));
                sums[line] = multiply_add(share, Lanes::load_anywhere(row + k), sums[line]);
                sums[line] = multiply_add(stay.in(k, one) - share, Lanes::load_anywhere(behind + k), sums[line]);
            }
        }
    };
    for (int s = 0; s < slabs;) {
        next.ask(kFour);
        for (const int pause = smaller(s + kAskSlabs, slabs); s < pause; ++s) {
            static_assert(kMostColumns == 6, "every number of columns has its case");
            switch (band.columns[s]) {
                case 1:
                case 2:
                    weigh(s, std::integral_constant<int, 2>());
                    break;
                case 3:
                    weigh(s, std::integral_constant<int, 3>());
                    break;
                case 4:
                    weigh(s, std::integral_constant<int, 4>());
                    break;
                case 5:
                    weigh(s, std::integral_constant<int, 5>());
                    break;
                case kMostColumns:
                    weigh(s, std::integral_constant<int, kMostColumns>());
                    break;
                default:
                    break;
            }
        }
    }
    for (int line = 0; line < kFour; ++line) {
        float* const sum = walk.packets[first + line].sum;
        (Lanes::load(sum) + in_order(sums[line])).store(sum);
    }
    walk_rest(walk, block, first, bits_of_slabs(box) & band.wide, collection, next);
}

}  // namespace
}  // namespace DRRPROJ_ISA
}  // namespace drrproj
