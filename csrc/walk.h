// The walk: one slab of one ray meets at most three voxels, and these are their shares.
//
// Coordinates are voxel indices shifted so that voxel i covers [i, i + 1). A ray is followed along its steepest axis
// x; the other two coordinates, u and v, move by at most one voxel between the planes x = k and x = k + 1. So within
// the slab the ray leaves its u voxel at most once and its v voxel at most once, and the slab splits into the share
// before the first crossing, between the two, and after the second. That is Siddon's exact path, without sorting.
//
// Real is float, on host or device, or a packet of float lanes: the formulas are the same.
#pragma once

#include <cmath>

#if defined(__CUDACC__)
#define DRRPROJ_HOST_DEVICE __host__ __device__
#else
#define DRRPROJ_HOST_DEVICE
#endif

// Each instruction set compiles these templates into a namespace of its own, so that the linker cannot merge them.
#ifndef DRRPROJ_ISA
#define DRRPROJ_ISA scalar
#endif

namespace drrproj {
namespace DRRPROJ_ISA {

DRRPROJ_HOST_DEVICE inline float smaller(float a, float b) { return a < b ? a : b; }
DRRPROJ_HOST_DEVICE inline float larger(float a, float b) { return a > b ? a : b; }
DRRPROJ_HOST_DEVICE inline double smaller(double a, double b) { return a < b ? a : b; }
DRRPROJ_HOST_DEVICE inline double larger(double a, double b) { return a > b ? a : b; }

// When a coordinate leaves its voxel, as a share of the slab: `smaller(1, fraction * slope + offset)`, where fraction
// is how far into the voxel the coordinate stands at the slab's start. `step` is the side on which it leaves.
template <class Real>
struct Crossing {
    Real slope, offset, step;
};

// A coordinate that does not move crosses at 1e30 slabs: far beyond the slab, and still a finite number to multiply.
DRRPROJ_HOST_DEVICE inline Crossing<float> crossing_of(float motion) {
    const float slabs_per_voxel = motion != 0.0f ? smaller(larger(-1.0f / motion, -1e30f), 1e30f) : -1e30f;
    return {slabs_per_voxel, motion < 0.0f ? 0.0f : -slabs_per_voxel, motion < 0.0f ? -1.0f : 1.0f};
}

template <class Real>
DRRPROJ_HOST_DEVICE inline Real crossing_share(Real fraction, const Crossing<Real>& crossing) {
    return smaller(Real(1.0f), fraction * crossing.slope + crossing.offset);
}

// Shares of a slab spent in the voxel of entry, its neighbour across u, its neighbour across v, and the one across
// both. At most three are positive; they sum to `end - begin`.
template <class Real>
struct Shares {
    Real stay, across_u, across_v, across_both;
};

// The part of the slab from `begin` to `end` (0 and 1 for a whole slab), with crossings at shares `at_u` and `at_v`.
template <class Real>
DRRPROJ_HOST_DEVICE inline Shares<Real> slab_shares(Real at_u, Real at_v, Real begin, Real end) {
    const Real u = smaller(larger(at_u, begin), end);
    const Real v = smaller(larger(at_v, begin), end);
    return {smaller(u, v) - begin, larger(Real(0.0f), v - u), larger(Real(0.0f), u - v), end - larger(u, v)};
}

template <class Real>
DRRPROJ_HOST_DEVICE inline Shares<Real> slab_shares(Real at_u, Real at_v) {
    return {smaller(at_u, at_v), larger(Real(0.0f), at_v - at_u), larger(Real(0.0f), at_u - at_v),
            Real(1.0f) - larger(at_u, at_v)};
}

}  // namespace DRRPROJ_ISA
}  // namespace drrproj
