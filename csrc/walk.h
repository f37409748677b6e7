// The walk: one slab of one ray meets at most three voxels, and these are their shares.
//
// A ray is followed along its steepest axis x; the other two coordinates, u and v, move by at most one voxel between
// the planes x = k and x = k + 1. So within the slab the ray leaves its u voxel at most once and its v voxel at most
// once, and the slab splits into the share before the first crossing, the one between the two, and the one after the
// second. That is Siddon's exact path, without sorting.
//
// Real is float, on host or device, or a packet of float lanes: the formulas are the same.
#pragma once

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

DRRPROJ_HOST_DEVICE inline float multiply_add(float a, float b, float c) { return a * b + c; }
#if defined(__CUDA_ARCH__)
// One instruction each, which the comparison would not become: it says what to do with a NaN.
__device__ inline float smaller(float a, float b) { return fminf(a, b); }
__device__ inline float larger(float a, float b) { return fmaxf(a, b); }
#else
DRRPROJ_HOST_DEVICE inline float smaller(float a, float b) { return a < b ? a : b; }
DRRPROJ_HOST_DEVICE inline float larger(float a, float b) { return a > b ? a : b; }
#endif
DRRPROJ_HOST_DEVICE inline double smaller(double a, double b) { return a < b ? a : b; }
DRRPROJ_HOST_DEVICE inline double larger(double a, double b) { return a > b ? a : b; }

// When a coordinate leaves its voxel, as a share of the slab: `smaller(1, from_centre * slope + half)`, where
// from_centre is how far from the voxel's centre the coordinate stands at the slab's start.
template <class Real>
struct Crossing {
    Real slope, half;
};

template <class Real>
DRRPROJ_HOST_DEVICE inline Crossing<Real> crossing_from_slope(Real slope) {
    return {slope, Real(0.5f) * larger(slope, Real(0.0f) - slope)};
}

// A coordinate that does not move crosses at 1e30 slabs: far beyond the slab, and still a finite number to multiply.
template <class Real>
DRRPROJ_HOST_DEVICE inline Crossing<Real> crossing_of(Real motion) {
    // Adding zero makes zero of minus zero, which would cross to the other side.
    return crossing_from_slope(smaller(larger(Real(-1.0f) / (motion + Real(0.0f)), Real(-1e30f)), Real(1e30f)));
}

template <class Real>
DRRPROJ_HOST_DEVICE inline Real crossing_share(Real from_centre, const Crossing<Real>& crossing) {
    return smaller(Real(1.0f), multiply_add(from_centre, crossing.slope, crossing.half));
}

// Shares of a slab spent in the voxel of entry, in the one behind the first crossing, and in the one behind both. They
// sum to `end - begin`. The first crossing is the one of u where `at_u < at_v`, else the one of v.
template <class Real>
struct Shares {
    Real entry, middle, exit;
};

// The part of the slab from `begin` to `end` (0 and 1 for a whole slab), with crossings at shares `at_u` and `at_v`.
template <class Real>
DRRPROJ_HOST_DEVICE inline Shares<Real> slab_shares(Real at_u, Real at_v, Real begin, Real end) {
    const Real u = smaller(larger(at_u, begin), end);
    const Real v = smaller(larger(at_v, begin), end);
    const Real first = smaller(u, v), second = larger(u, v);
    return {first - begin, second - first, end - second};
}

template <class Real>
DRRPROJ_HOST_DEVICE inline Shares<Real> slab_shares(Real at_u, Real at_v) {
    const Real first = smaller(at_u, at_v), second = larger(at_u, at_v);
    return {first, second - first, Real(1.0f) - second};
}

}  // namespace DRRPROJ_ISA
}  // namespace drrproj
