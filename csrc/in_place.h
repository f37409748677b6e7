// The walk of rays that lie far apart: each voxel is read where it is.
#pragma once

#include <cstdint>

#include "brick.h"
#include "collection.h"
#include "coordinate.h"
#include "job.h"
#include "lanes.h"
#include "rays.h"
#include "walk.h"

namespace drrproj {
namespace DRRPROJ_ISA {
namespace {

// Rays so far apart that few of them share what a brick would hold read each voxel where it is. What a packet meets in
// so many slabs is asked for together, and read when memory has been asked for the next ones: with more of them
// requests queue up, with fewer they come late.
constexpr int kInPlaceSlabs = 8;

// In steps of so many, reads and requests take few instructions.
constexpr int kAtOnce = 8;

// What a packet reads in some slabs: where, for which of its rays and for what share of a slab.
struct alignas(64) Reads {
    static constexpr int kMost = 3 * kInPlaceSlabs, kNumbers = (kMost + 1) * N;
    float share[kMost][N];
    Mask met[kMost];
    std::int64_t at[kNumbers];  // bytes from the first voxel, of one ray after the other
    std::int64_t x;
    int packet, slabs, count;
};

// Find what a packet meets in some slabs from `x` on, and ask memory for it.
void find_reads(const Walk& walk, const Grid& grid, int index, std::int64_t x, int slabs, Reads& reads) {
    const Packet& packet = walk.packets[index];
    const double begin_x = static_cast<double>(x);
    const int middle = slabs / 2;
    const float* const steps = kSlabs.from(middle);
    const Coordinate u = coordinate_of(packet.u, packet.du, packet.motion_u, packet.slope_u, begin_x + middle, 0.0);
    const Coordinate v = coordinate_of(packet.v, packet.dv, packet.motion_v, packet.slope_v, begin_x + middle, 0.0);
    const Limits limits = limits_of(packet, begin_x);
    const Lanes zero(0.0f), round(kRound);
    const Lanes voxel_u = to_lanes(u.voxel), voxel_v = to_lanes(v.voxel);
    const Lanes step_u = to_lanes(u.step), step_v = to_lanes(v.step);
    const std::int64_t stride_u = grid.stride[walk.axis_u], stride_v = grid.stride[walk.axis_v];
    const Lanes size_u(static_cast<float>(grid.size[walk.axis_u])), size_v(static_cast<float>(grid.size[walk.axis_v]));
    std::int64_t slab_at = x * grid.stride[walk.axis_x];
    // From a ray's voxel to the one behind a crossing.
    std::int64_t way_u[N], way_v[N];
    for (int i = 0; i < N; ++i) way_u[i] = packet.motion_u[i] < 0.0f ? -stride_u : stride_u;
    for (int i = 0; i < N; ++i) way_v[i] = packet.motion_v[i] < 0.0f ? -stride_v : stride_v;
    int count = 0;
    for (int s = 0; s < slabs; ++s, slab_at += grid.stride[walk.axis_x]) {
        const Lanes step(steps[s]);
        const Limits here = limits.within(Lanes(kSlabNumbers[s]));
        const Standing in_u = standing_at(u, step, round), in_v = standing_at(v, step, round);
        const Shares<Lanes> shares = slab_shares(in_u.leaves, in_v.leaves, here.begin, here.end);
        const Mask u_first = less(in_u.leaves, in_v.leaves);
        const Lanes at_u = in_u.rounded - round + voxel_u, at_v = in_v.rounded - round + voxel_v;
        alignas(64) std::int32_t column[N], row[N], crosses_u[N];
        to_index(at_u).store(column);
        to_index(at_v).store(row);
        choose(u_first, broadcast(1), broadcast(0)).store(crosses_u);
        std::int64_t entry[N];
        for (int i = 0; i < N; ++i) entry[i] = slab_at + column[i] * stride_u + row[i] * stride_v;
        // Compilers turn these loops into vectors as long as masks are numbers and nothing in them is left out.
        const auto include = [&](int read, Lanes share, Lanes at_u, Lanes at_v, const auto& way) {
            const Mask met =
                positive(share) & less(at_u, size_u) & less(at_v, size_v) & ~less(at_u, zero) & ~less(at_v, zero);
            share.store(reads.share[read]);
            reads.met[read] = met;
            alignas(64) std::int32_t is_met[N];
            choose(met, broadcast(1), broadcast(0)).store(is_met);
            std::int64_t* const at = reads.at + count;
            for (int i = 0; i < N; ++i) {
                const std::int64_t voxel = entry[i] + way(i);
                // Where all lanes read, those that meet nothing read the first voxel.
                at[i] = kPacks || is_met[i] ? voxel : 0;
            }
            count += pack(met, at);
        };
        include(3 * s, shares.entry, at_u, at_v, [](int) { return std::int64_t{0}; });
        include(3 * s + 1, shares.middle, choose(u_first, at_u + step_u, at_u), choose(u_first, at_v, at_v + step_v),
                [&](int i) { return crosses_u[i] ? way_u[i] : way_v[i]; });
        include(3 * s + 2, shares.exit, at_u + step_u, at_v + step_v, [&](int i) { return way_u[i] + way_v[i]; });
    }
    reads.x = x;
    reads.packet = index;
    reads.slabs = slabs;
    reads.count = count;
    for (int i = 0; i < kAtOnce; ++i) reads.at[count + i] = 0;
    const char* const voxels = static_cast<const char*>(grid.voxels);
    for (int i = 0; i < count; i += kAtOnce)
        for (int k = 0; k < kAtOnce; ++k) __builtin_prefetch(voxels + reads.at[i + k], 0, 2);
}

// What was read, as attenuation or codes; one ray after the other, as it was asked for.
struct alignas(64) Values {
    float bits[Reads::kNumbers];
};

template <class Number, class Convert>
void read(const Reads& reads, const Grid& grid, Convert convert, Values& values) {
    const char* const voxels = static_cast<const char*>(grid.voxels);
    Number numbers[Reads::kNumbers];
    for (int i = 0; i < N; ++i) numbers[reads.count + i] = Number(0);
    // In a loop of its own, of few instructions: processors wait for as many voxels at once as they see reads ahead.
    for (int i = 0; i < reads.count; i += kAtOnce)
        for (int k = 0; k < kAtOnce; ++k) numbers[i + k] = *reinterpret_cast<const Number*>(voxels + reads.at[i + k]);
    for (int i = 0; i < reads.count; i += N) as_lanes(converted(numbers + i, convert)).store(values.bits + i);
}

// Find what each packet meets, block after block, and call `use` when it was asked for long enough ago.
template <class Use>
void walk_in_place(const Walk& walk, const Grid& grid, const Use& use) {
    const Extents& extents = walk.extents;
    const double size_u = static_cast<double>(grid.size[walk.axis_u]);
    const double size_v = static_cast<double>(grid.size[walk.axis_v]);
    Reads reads[2];
    int now = 0;
    bool any = false;
    for (int i = 0; i < walk.count; ++i) {
        const std::int64_t last = -floor_of(-extents.end_high[i]);
        int slabs = 0;
        // The same blocks for every packet: the last bits must not depend on what it consists of.
        const std::int64_t first = floor_of(extents.begin_low[i]) / kInPlaceSlabs * kInPlaceSlabs;
        for (std::int64_t x = first; x < last; x += slabs) {
            slabs = static_cast<int>(smaller(static_cast<std::int64_t>(kInPlaceSlabs), walk.size_x - x));
            const double begin = static_cast<double>(x) - walk.begin, end = begin + slabs;
            const auto meets = [&](const Bound& low, const Bound& high, double size) {
                return larger(high.at(i, begin), high.at(i, end)) >= -kBoxMargin &&
                       smaller(low.at(i, begin), low.at(i, end)) <= size + kBoxMargin;
            };
            if (!meets(extents.u_low, extents.u_high, size_u) || !meets(extents.v_low, extents.v_high, size_v))
                continue;
            find_reads(walk, grid, i, x, slabs, reads[now]);
            now = 1 - now;
            if (any) use(reads[now]);
            any = true;
        }
    }
    if (any) use(reads[1 - now]);
}

void walk_image_in_place(const Walk& walk) {
    const Grid& grid = *walk.job.image;
    Values values;
    walk_in_place(walk, grid, [&](const Reads& reads) {
        with_image(walk.job, [&](auto number, auto convert) {
            read<decltype(number)>(reads, grid, convert, values);
            return true;
        });
        float* const sums = walk.packets[reads.packet].sum;
        Lanes sum(0.0f);
        const float* next = values.bits;
        for (int i = 0; i < 3 * reads.slabs; ++i) {
            const Mask met = reads.met[i];
            sum = multiply_add(Lanes::load(reads.share[i]), spread(met, Lanes::load_anywhere(next)), sum);
            next += packed(met);
        }
        (Lanes::load(sums) + sum).store(sums);
    });
}

template <int What>
void walk_labels_in_place(const Walk& walk, Collection& collection) {
    const Grid& grid = *walk.job.label;
    const Extents& extents = walk.extents;
    Values values;
    walk_in_place(walk, grid, [&](const Reads& reads) {
        with_label<std::uint16_t>(walk.job, [&](auto number, auto convert) {
            read<decltype(number)>(reads, grid, convert, values);
            return true;
        });
        const int index = reads.packet;
        const double begin = static_cast<double>(reads.x), end = begin + reads.slabs;
        const bool partial = extents.begin_high[index] > begin || extents.end_low[index] < end;
        const Limits limits = limits_of(walk.packets[index], begin);
        const auto x = static_cast<float>(reads.x);
        const float* next = values.bits;
        const auto read_next = [&](int i) {
            const Mask met = reads.met[i];
            const Index codes = bits_of(spread(met, Lanes::load_anywhere(next)));
            next += packed(met);
            return codes;
        };
        Codes<3> codes{{read_next(0), read_next(1), read_next(2)}};
        // Any label that the first slab meets will do, as in walk_packet.
        alignas(64) std::int32_t first[N];
        codes.code[0].store(first);
        Following<What> following(collection, index, static_cast<float>(walk.size_x), index_of_codes(walk.job),
                                  first[N / 2]);
        for (int s = 0;;) {
            Met<3> met;
            for (int i = 0; i < 3; ++i) met.share[i] = Lanes::load(reads.share[3 * s + i]), met.mu[i] = Lanes(0.0f);
            const float plane = x + kSlabNumbers[s];
            const auto same = [&] { return codes; };
            if (partial)
                following.template slab<false>(met, plane, limits.within(Lanes(kSlabNumbers[s])).begin, false, same);
            else
                following.template slab<true>(met, plane, Lanes(0.0f), false, same);
            if (++s == reads.slabs) break;
            codes = {{read_next(3 * s), read_next(3 * s + 1), read_next(3 * s + 2)}};
        }
        following.settle(static_cast<float>(end));
    });
}

}  // namespace
}  // namespace DRRPROJ_ISA
}  // namespace drrproj
