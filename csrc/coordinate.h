// Where the rays of a packet are, slab by slab of a block.
#pragma once

#include <cstdint>

#include "job.h"
#include "lanes.h"
#include "rays.h"
#include "walk.h"

namespace drrproj {
namespace DRRPROJ_ISA {
namespace {

// Adding it rounds a small float to a whole number, which the lowest bits of the sum then hold.
constexpr float kRound = 12582912.0f;

// The numbers of a block's slabs, and of those before a plane in its first half.
struct alignas(64) Slabs {
    float numbers[kBlockSlabs / 2 + kBlockSlabs];
    constexpr Slabs() : numbers() {
        for (int i = 0; i < kBlockSlabs / 2 + kBlockSlabs; ++i) numbers[i] = static_cast<float>(i - kBlockSlabs / 2);
    }
    constexpr const float* from(int plane) const { return numbers + kBlockSlabs / 2 - plane; }
};
constexpr Slabs kSlabs;
constexpr const float* kSlabNumbers = kSlabs.from(0);

// A coordinate of a packet's rays within a block, with voxel centres at whole numbers.
struct Coordinate {
    Lanes middle;  // at the block's middle plane, relative to `voxel`
    Lanes motion;  // per slab
    Index voxel;   // relative to the block's origin
    Index step;    // to the voxel behind a crossing
    Crossing<Lanes> crossing;
};

// Small numbers, which float32 holds to a millionth of a voxel: the way from a voxel at the block's middle plane.
Coordinate coordinate_of(const double (&position)[N], const double (&motion)[N], const float (&moves)[N],
                         const float (&slopes)[N], double middle_plane, double origin) {
    alignas(64) double at[N], floors[N];
    alignas(64) float middle[N], voxel[N];
    for (int i = 0; i < N; ++i) at[i] = position[i] + middle_plane * motion[i] - origin;
    for (int i = 0; i < N; ++i) floors[i] = __builtin_floor(at[i]);
    for (int i = 0; i < N; ++i) voxel[i] = static_cast<float>(floors[i]);
    for (int i = 0; i < N; ++i) middle[i] = static_cast<float>(at[i] - floors[i] - 0.5);
    const Lanes zero(0.0f), motions = Lanes::load(moves), slope = Lanes::load(slopes);
    return {Lanes::load(middle), motions, to_index(Lanes::load(voxel)),
            to_index(choose(less(motions, zero), Lanes(-1.0f), Lanes(1.0f))), crossing_from_slope(slope)};
}

// Where the rays of a packet are in a coordinate when a slab begins: in which voxel, and for what share of the slab.
struct Standing {
    Lanes rounded;  // with the voxel in its lowest bits, less where reading begins
    Lanes leaves;
    Index voxel() const { return bits_of(rounded); }
};
inline Standing standing_at(const Coordinate& coordinate, Lanes step, Lanes from) {
    const Lanes at = multiply_add(step, coordinate.motion, coordinate.middle), rounded = at + from;
    return {rounded, crossing_share(at - (rounded - from), coordinate.crossing)};
}

// Where a packet's rays exist: in slabs from a plane on, or as a share of a slab.
struct Limits {
    Lanes begin, end;
    Limits within(Lanes slab) const {
        const Lanes zero(0.0f), one(1.0f);
        return {smaller(larger(begin - slab, zero), one), smaller(larger(end - slab, zero), one)};
    }
};

Limits limits_of(const Packet& packet, double x) {
    alignas(64) float begin[N], end[N];
    for (int i = 0; i < N; ++i) begin[i] = static_cast<float>(packet.begin[i] - x);
    for (int i = 0; i < N; ++i) end[i] = static_cast<float>(packet.end[i] - x);
    return {Lanes::load(begin), Lanes::load(end)};
}

}  // namespace
}  // namespace DRRPROJ_ISA
}  // namespace drrproj
