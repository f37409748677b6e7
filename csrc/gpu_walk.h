// What one GPU thread does: convert a voxel, follow a ray, or finish eight pixels of a structure. Every body is a
// function of its thread's number alone, so that a loop on the host runs the same source as a kernel does.
//
// A ray is set up in double. On the walk its two moving coordinates are fixed-point numbers, 32 bits of voxel and 32
// bits of fraction: adding a slab's motion is exact, the voxel comes for free, and what the rounding of the motion
// (2^-33 of a voxel) sums up to stays below that of a float.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "numbers.h"
#include "projection.h"
#include "walk.h"

#if defined(__CUDA_ARCH__)
#define DRRPROJ_PRAGMA(text) _Pragma(#text)
#define DRRPROJ_UNROLL(times) DRRPROJ_PRAGMA(unroll times)
#else
#define DRRPROJ_UNROLL(times)
#endif

namespace drrproj {
namespace gpu {

using namespace DRRPROJ_ISA;

// Threads of a block: four warps, each a patch of 8 x 4 pixels, so that what a warp reads of a slab lies close
// together.
constexpr int kBlockThreads = 128;
constexpr int kPatchColumns = 8, kPatchRows = 4, kBlockColumns = 16, kBlockRows = 8;
constexpr int kSumSlabs = 32;  // summed on their own: a float loses less so
// Rays enter the grid and leave it within one voxel of its faces: zeros around it spare them asking where it ends.
constexpr int kPadding = 2;
constexpr double kMargin = 1e-3;  // of a slab, for the rounding of where a ray enters and leaves

// Voxels on the device, with their padding, dense: all of a grid, or a piece of it.
struct DeviceGrid {
    std::int64_t size[3];           // of the grid, without padding
    std::int64_t begin[3], end[3];  // of the piece, which alone is there
    std::int32_t stride[3];         // in voxels
    std::int64_t first;             // where voxel (0, 0, 0) is or would be, in voxels from the beginning of the memory
    double metric[6];               // |world d|^2 of an index-space d: xx, yy, zz, 2xy, 2xz, 2yz
};

// A view in the index space of one grid, voxel i covering [i, i + 1).
struct DeviceView {
    double source[3];  // for a parallel beam, the direction towards the source
    double first_pixel[3], row_step[3], column_step[3];
    bool parallel;
};

// u(x) = u + x * du and v(x) along the ray's steepest axis x, which it follows from `begin` to `end`.
struct Ray {
    double u, v, du, dv, begin, end;
    std::int32_t stride_x, stride_u, stride_v;
    double mm_per_slab;
    double size_x, origin_x;  // origin_x: from where depth counts, in x
    bool forwards;            // does depth grow with x?
};

DRRPROJ_HOST_DEVICE inline void swap_if(bool wanted, double& a, double& b) {
    const double was = a;
    a = wanted ? b : a;
    b = wanted ? was : b;
}
DRRPROJ_HOST_DEVICE inline void swap_if(bool wanted, std::int32_t& a, std::int32_t& b) {
    const std::int32_t was = a;
    a = wanted ? b : a;
    b = wanted ? was : b;
}

// Keep of the ray what lies from `low` to `high` along a coordinate, in whole slabs; the padding serves the rest.
DRRPROJ_HOST_DEVICE inline void clip(double start, double motion, double low, double high, double& begin, double& end) {
    if (motion != 0.0) {
        const double enters = (low - start) / motion, leaves = (high - start) / motion;
        begin = larger(begin, floor(smaller(enters, leaves) - kMargin));
        end = smaller(end, ceil(larger(enters, leaves) + kMargin));
    } else if (!(start >= low && start < high)) {
        end = begin;
    }
}

DRRPROJ_HOST_DEVICE inline Ray ray_of(const DeviceView& view, const DeviceGrid& grid, double row, double column) {
    const auto point_at = [&](int axis) {
        return view.first_pixel[axis] + row * view.row_step[axis] + column * view.column_step[axis];
    };
    double p0 = point_at(0), p1 = point_at(1), p2 = point_at(2);
    double s0 = view.source[0], s1 = view.source[1], s2 = view.source[2];
    double d0 = view.parallel ? -s0 : p0 - s0, d1 = view.parallel ? -s1 : p1 - s1, d2 = view.parallel ? -s2 : p2 - s2;
    const double* const m = grid.metric;
    const double squared = d0 * (m[0] * d0 + m[3] * d1 + m[4] * d2) + d1 * (m[1] * d1 + m[5] * d2) + m[2] * d2 * d2;
    double size_0 = static_cast<double>(grid.size[0]), size_1 = static_cast<double>(grid.size[1]);
    double size_2 = static_cast<double>(grid.size[2]);
    double low_0 = static_cast<double>(grid.begin[0]), low_1 = static_cast<double>(grid.begin[1]);
    double low_2 = static_cast<double>(grid.begin[2]);
    double high_0 = static_cast<double>(grid.end[0]), high_1 = static_cast<double>(grid.end[1]);
    double high_2 = static_cast<double>(grid.end[2]);
    std::int32_t stride_0 = grid.stride[0], stride_1 = grid.stride[1], stride_2 = grid.stride[2];

    // Bring the steepest axis to the front, the first of equally steep ones; selections keep all of it in registers.
    const double steep_0 = fabs(d0), steep_1 = fabs(d1), steep_2 = fabs(d2);
    const bool first = steep_0 >= steep_1 && steep_0 >= steep_2, second = !first && steep_1 >= steep_2;
    const auto bring = [&](auto& front, auto& middle, auto& last) {
        swap_if(second, front, middle);
        swap_if(!first && !second, front, last);
    };
    bring(p0, p1, p2);
    bring(s0, s1, s2);
    bring(d0, d1, d2);
    bring(size_0, size_1, size_2);
    bring(low_0, low_1, low_2);
    bring(high_0, high_1, high_2);
    bring(stride_0, stride_1, stride_2);

    Ray ray;
    const double per_slab = 1.0 / d0;
    ray.stride_x = stride_0;
    ray.stride_u = stride_1;
    ray.stride_v = stride_2;
    ray.du = d1 * per_slab;
    ray.dv = d2 * per_slab;
    ray.u = p1 - p0 * ray.du;
    ray.v = p2 - p0 * ray.dv;
    ray.begin = view.parallel ? low_0 : larger(low_0, smaller(s0, p0));
    ray.end = view.parallel ? high_0 : smaller(high_0, larger(s0, p0));
    ray.size_x = size_0;
    ray.mm_per_slab = sqrt(squared) * fabs(per_slab);
    ray.origin_x = view.parallel ? p0 : s0;
    ray.forwards = d0 > 0.0;
    if (!(squared > 0.0)) {
        // A source on its pixel: a ray of no length.
        ray.end = ray.begin;
        ray.mm_per_slab = 0.0;
        return ray;
    }
    clip(ray.u, ray.du, low_1, high_1, ray.begin, ray.end);
    clip(ray.v, ray.dv, low_2, high_2, ray.begin, ray.end);
    // Where a ray would enter that passes by may be more than a whole number holds.
    if (!(ray.begin < ray.end)) ray.begin = ray.end = low_0;
    return ray;
}

constexpr double kOne = 4294967296.0;  // one voxel in fixed point

// The next float towards zero: a fraction stays below one.
DRRPROJ_HOST_DEVICE inline float truncated(std::uint32_t number) {
#if defined(__CUDA_ARCH__)
    return __uint2float_rz(number);
#else
    const float nearest = static_cast<float>(number);
    return static_cast<double>(nearest) > number ? std::nextafter(nearest, 0.0f) : nearest;
#endif
}

// Between 0 and 1; on a GPU a part of the instruction that made the number.
DRRPROJ_HOST_DEVICE inline float saturated(float number) {
#if defined(__CUDA_ARCH__)
    return __saturatef(number);
#else
    return smaller(larger(number, 0.0f), 1.0f);
#endif
}

// A coordinate of a ray on its walk: the voxel, and how far it has come in it, from the side of the lower neighbour.
class Coordinate {
  public:
    DRRPROJ_HOST_DEVICE Coordinate(double at_first, double per_slab) {
        const auto at = static_cast<std::int64_t>(floor(at_first * kOne));
        const auto motion = static_cast<std::int64_t>(floor(per_slab * kOne + 0.5));
        voxel = static_cast<std::int32_t>(at >> 32);
        part_ = static_cast<std::uint32_t>(at);
        motion_voxel_ = static_cast<std::int32_t>(motion >> 32);
        motion_part_ = static_cast<std::uint32_t>(motion);
        // A coordinate that does not move crosses at 1e30 slabs: the part that is left of a voxel is never zero.
        const float slabs = smaller(1.0f / fabsf(static_cast<float>(per_slab)), 1e30f);
        const bool falls = per_slab < 0.0;
        slope_ = (falls ? slabs : -slabs) * static_cast<float>(1.0 / kOne);
        slabs_ = falls ? 0.0f : slabs;
    }
    // Rounded once, or what is left of a voxel could be rounded away.
    DRRPROJ_HOST_DEVICE float leaves() const { return saturated(fmaf(truncated(part_), slope_, slabs_)); }
    DRRPROJ_HOST_DEVICE void next() {
#if defined(__CUDA_ARCH__)
        // Of a sum of 64 bits nvcc keeps the lower half twice, because it is asked for alone.
        asm("add.cc.u32 %0, %0, %2; addc.s32 %1, %1, %3;"
            : "+r"(part_), "+r"(voxel)
            : "r"(motion_part_), "r"(motion_voxel_));
#else
        part_ += motion_part_;
        voxel += motion_voxel_ + (part_ < motion_part_ ? 1 : 0);
#endif
    }

    std::int32_t voxel;

  private:
    std::int32_t motion_voxel_;
    std::uint32_t part_, motion_part_;
    float slope_, slabs_;  // it leaves its voxel after slabs_ + part_ * slope_
};

// What a slab asks of the voxels: where the ray enters it, how much of it lies in which voxel, and which coordinate is
// the first to cross.
struct Slab {
    std::int32_t u, v;
    Shares<float> shares;
    bool u_first;
    int x;
    float begin;  // where the ray's part of it begins, from x on
};

// What a slab's voxels hold: of entry, behind the first crossing, behind both.
template <class Voxel>
struct Met {
    Voxel entry, middle, exit;
};

// The voxel in which a ray enters a slab, and how many voxels on those behind the first crossing and behind both lie.
template <class Voxel>
struct Place {
    const Voxel* entry;
    std::int32_t to_middle, to_exit;

    // A voxel behind a crossing without a share is as `otherwise`: it is not met, and may lie outside of the memory.
    // That of entry lies in the padding at the farthest.
    DRRPROJ_HOST_DEVICE Met<Voxel> read(const Shares<float>& shares, Voxel otherwise) const {
        return {at(entry), shares.middle > 0.0f ? at(entry + to_middle) : otherwise,
                shares.exit > 0.0f ? at(entry + to_exit) : otherwise};
    }

  private:
    DRRPROJ_HOST_DEVICE static Voxel at(const Voxel* voxel) {
#if defined(__CUDA_ARCH__)
        return __ldg(voxel);  // nothing writes to voxels while rays read them
#else
        return *voxel;
#endif
    }
};

// number * stride + offset, in one instruction: the compiler does not see that a high word has 32 bits.
DRRPROJ_HOST_DEVICE inline std::int64_t moved(std::int32_t number, std::int32_t stride, std::int64_t offset) {
#if defined(__CUDA_ARCH__)
    std::int64_t result;
    asm("mad.wide.s32 %0, %1, %2, %3;" : "=l"(result) : "r"(number), "r"(stride), "l"(offset));
    return result;
#else
    return static_cast<std::int64_t>(number) * stride + offset;
#endif
}

// Where a ray is among voxels; goes with it along x. Addresses and strides are in bytes, to be added as they are.
template <class Voxel>
class Cursor {
  public:
    DRRPROJ_HOST_DEVICE Cursor(const Voxel* voxels, const DeviceGrid& grid, const Ray& ray)
        : slab_(reinterpret_cast<std::int64_t>(voxels) +
                (grid.first + static_cast<std::int64_t>(floor(ray.begin)) * ray.stride_x) * kBytes),
          stride_x_(static_cast<std::int64_t>(ray.stride_x) * kBytes),
          stride_u_(ray.stride_u * kBytes),
          stride_v_(ray.stride_v * kBytes),
          step_u_(ray.du < 0.0 ? -ray.stride_u : ray.stride_u),
          step_v_(ray.dv < 0.0 ? -ray.stride_v : ray.stride_v) {}

    DRRPROJ_HOST_DEVICE Place<Voxel> place(const Slab& slab) const {
        const std::int64_t entry = moved(slab.u, stride_u_, moved(slab.v, stride_v_, slab_));
        return {reinterpret_cast<const Voxel*>(entry), slab.u_first ? step_u_ : step_v_, step_u_ + step_v_};
    }
    DRRPROJ_HOST_DEVICE void next() { slab_ += stride_x_; }

  private:
    static constexpr std::int32_t kBytes = sizeof(Voxel);
    std::int64_t slab_, stride_x_;
    std::int32_t stride_u_, stride_v_, step_u_, step_v_;
};

// Follow a ray, and have `collect` take each slab: `collect.slab(is_whole, slab)`, and now and then `collect.pause()`.
template <class Collect>
DRRPROJ_HOST_DEVICE inline void walk(const Ray& ray, Collect& collect) {
    if (!(ray.begin < ray.end)) return;
    const int first = static_cast<int>(floor(ray.begin)), last = static_cast<int>(ceil(ray.end));
    Coordinate u(ray.u + first * ray.du, ray.du), v(ray.v + first * ray.dv, ray.dv);
    int x = first;
    const auto step = [&](auto is_whole, float begin, float end) {
        const float at_u = u.leaves(), at_v = v.leaves();
        const Shares<float> shares =
            decltype(is_whole)::value ? slab_shares(at_u, at_v) : slab_shares(at_u, at_v, begin, end);
        collect.slab(is_whole, Slab{u.voxel, v.voxel, shares, at_u < at_v, x, begin});
        u.next();
        v.next();
        ++x;
    };
    // Only the slabs with the ray's two ends are not whole; one piece of code takes both.
    const int whole_begin = ray.begin > first ? first + 1 : first, whole_end = ray.end < last ? last - 1 : last;
    while (x < last) {
        if (x < whole_begin || x >= whole_end) {
            step(std::false_type(), static_cast<float>(larger(ray.begin - x, 0.0)),
                 static_cast<float>(smaller(ray.end - x, 1.0)));
            continue;
        }
        const int pause = whole_end - x > kSumSlabs ? x + kSumSlabs : whole_end;
        DRRPROJ_UNROLL(Collect::kUnrolled)
        while (x < pause) step(std::true_type(), 0.0f, 1.0f);
        collect.pause();
    }
    collect.pause();
}

// The sum along a ray, slab by slab.
struct Sum {
    float total = 0.0f, entry = 0.0f, middle = 0.0f, exit = 0.0f;

    DRRPROJ_HOST_DEVICE void add(const Met<float>& met, const Shares<float>& shares) {
        entry = multiply_add(shares.entry, met.entry, entry);
        middle = multiply_add(shares.middle, met.middle, middle);
        exit = multiply_add(shares.exit, met.exit, exit);
    }
    DRRPROJ_HOST_DEVICE void pause() {
        total += entry + middle + exit;
        entry = middle = exit = 0.0f;
    }
};

// The rays of a launch: `lines` rows of pixels on end, of one view or several, from `first_line` on.
struct Rays {
    const DeviceView* views;
    std::int32_t rows, columns;
    std::int64_t first_line, lines;
    std::uint32_t blocks_across;

    // The pixel of a thread; false where it has none.
    DRRPROJ_HOST_DEVICE bool pixel_of(std::uint32_t block, int thread, std::int64_t& line, std::int32_t& column) const {
        const int warp = thread / 32, lane = thread % 32;
        column = static_cast<std::int32_t>(block % blocks_across) * kBlockColumns + warp % 2 * kPatchColumns +
                 lane % kPatchColumns;
        line = static_cast<std::int64_t>(block / blocks_across) * kBlockRows + warp / 2 * kPatchRows +
               lane / kPatchColumns;
        return column < columns && line < lines;
    }
    DRRPROJ_HOST_DEVICE Ray ray(const DeviceGrid& grid, std::int64_t line, std::int32_t column) const {
        const std::int64_t at = first_line + line;
        return ray_of(views[at / rows], grid, static_cast<double>(at % rows), static_cast<double>(column));
    }
};

struct ImageCollector {
    static constexpr int kUnrolled = 4;
    Cursor<float> image;
    Sum sum{};

    template <class IsWhole>
    DRRPROJ_HOST_DEVICE void slab(IsWhole, const Slab& slab) {
        sum.add(image.place(slab).read(slab.shares, 0.0f), slab.shares);
        image.next();
    }
    DRRPROJ_HOST_DEVICE void pause() { sum.pause(); }
};

// An image of line integrals, from the launch's first line on: written, or where there is a piece before added to.
struct LineIntegrals {
    float* images;
    bool add;

    DRRPROJ_HOST_DEVICE void keep(std::int64_t ray, float line_integral) const {
        images[ray] = add ? images[ray] + line_integral : line_integral;
    }
};

// Line integrals of an image alone.
struct ProjectImage {
    Rays rays;
    DeviceGrid grid;
    const float* image;
    LineIntegrals line_integrals;

    DRRPROJ_HOST_DEVICE void operator()(std::uint32_t block, int thread) const {
        std::int64_t line;
        std::int32_t column;
        if (!rays.pixel_of(block, thread, line, column)) return;
        const Ray ray = rays.ray(grid, line, column);
        ImageCollector collector{{image, grid, ray}};
        walk(ray, collector);
        line_integrals.keep(line * rays.columns + column, collector.sum.total * static_cast<float>(ray.mm_per_slab));
    }
};

// What rays collect of label codes, of one piece after the other: arrays (codes from 1 on, rays), zeros before; null
// where not asked for.
struct Collected {
    float* path;         // slabs
    float* integral;     // of attenuation, per slab
    float* from_start;   // how far a code reaches along x, from the grid's start on
    float* from_end;     // and from its end on
    float* mm_per_slab;  // (rays)
    std::int64_t rays;
};

// What is asked of a walk through labels, as bits.
constexpr int kImage = 1, kIntegral = 2;

// Counts the run of one code that the ray is in, and keeps it when the code changes.
template <int What, class Code>
struct LabelCollector {
    static constexpr int kUnrolled = 1;
    const float* image;
    const Code* codes;
    Cursor<Code> cursor;
    const Collected& collected;
    std::int64_t ray;
    float size_x;
    Sum sum{};
    int code = 0;
    float run = 0.0f, run_integral = 0.0f, part = 0.0f, background = 0.0f;

    template <class IsWhole>
    DRRPROJ_HOST_DEVICE void slab(IsWhole, const Slab& slab) {
        const Shares<float>& shares = slab.shares;
        const auto here = static_cast<Code>(code);
        const Place<Code> place = cursor.place(slab);
        const Met<Code> met = place.read(shares, here);
        cursor.next();
        Met<float> mu{};
        if (What & kImage) {
            mu = Place<float>{image + (place.entry - codes), place.to_middle, place.to_exit}.read(shares, 0.0f);
            sum.add(mu, shares);
        }
        if (met.entry == here && met.middle == here && met.exit == here) {
            run += IsWhole::value ? 1.0f : shares.entry + shares.middle + shares.exit;
            if (What & kIntegral)
                part = multiply_add(shares.entry, mu.entry,
                                    multiply_add(shares.middle, mu.middle, multiply_add(shares.exit, mu.exit, part)));
            return;
        }
        float x = static_cast<float>(slab.x) + slab.begin;
        take(met.entry, shares.entry, mu.entry, x);
        take(met.middle, shares.middle, mu.middle, x);
        take(met.exit, shares.exit, mu.exit, x);
    }
    DRRPROJ_HOST_DEVICE void pause() {
        if (What & kImage) sum.pause();
        if (What & kIntegral) {
            run_integral += part;
            part = 0.0f;
        }
    }
    // Keep the run, which ends at `x`.
    DRRPROJ_HOST_DEVICE void settle(float x) {
        if (What & kIntegral) {
            run_integral += part;
            part = 0.0f;
        }
        if (code == 0) {
            background += run_integral;
        } else if (run > 0.0f) {
            const std::int64_t at = (code - 1) * collected.rays + ray;
            collected.path[at] += run;
            if (What & kIntegral) collected.integral[at] += run_integral;
            if (collected.from_start) {
                collected.from_start[at] = larger(collected.from_start[at], x);
                collected.from_end[at] = larger(collected.from_end[at], size_x - (x - run));
            }
        }
        run = run_integral = 0.0f;
    }

  private:
    DRRPROJ_HOST_DEVICE void take(Code met, float share, float mu, float& x) {
        if (!(share > 0.0f)) return;
        if (met != static_cast<Code>(code)) {
            settle(x);
            code = met;
        }
        run += share;
        if (What & kIntegral) part = multiply_add(share, mu, part);
        x += share;
    }
};

// Follow rays through labels, and through the image on the same grid where it is asked for.
template <int What, class Code>
struct CollectLabels {
    Rays rays;
    DeviceGrid grid;
    const float* image;
    const Code* codes;
    Collected collected;
    LineIntegrals line_integrals, background_line_integrals;  // either may be null

    DRRPROJ_HOST_DEVICE void operator()(std::uint32_t block, int thread) const {
        std::int64_t line;
        std::int32_t column;
        if (!rays.pixel_of(block, thread, line, column)) return;
        const Ray ray = rays.ray(grid, line, column);
        const std::int64_t at = line * rays.columns + column;
        const float mm = static_cast<float>(ray.mm_per_slab);
        LabelCollector<What, Code> collector{image,     codes, {codes, grid, ray},
                                             collected, at,    static_cast<float>(ray.size_x)};
        walk(ray, collector);
        collector.settle(static_cast<float>(ray.end));
        collected.mm_per_slab[at] = mm;
        if ((What & kImage) && line_integrals.images) line_integrals.keep(at, collector.sum.total * mm);
        if ((What & kIntegral) && background_line_integrals.images)
            background_line_integrals.keep(at, collector.background * mm);
    }
};

// Counts from the far edges, so that zeros are a box of nothing and only grow.
DRRPROJ_HOST_DEVICE inline void raise(std::int32_t& number, std::int32_t to) {
    // Most rays widen nothing: looking first spares the others a queue at one address.
    if (number >= to) return;
#if defined(__CUDA_ARCH__)
    atomicMax(&number, to);
#else
    number = to;
#endif
}

// Of one structure, where its results go; from the launch's first line on, except for the box.
struct StructureOutputs {
    float* path_length;
    std::uint8_t* mask;
    float* label_line_integral;
    float* entry_depth;
    float* exit_depth;
    std::int32_t* box;                       // (structures, views, 4)
    std::int64_t image_stride, mask_stride;  // from a structure to the next
    std::int64_t views;
};

// Make what rays have collected the outputs of structures; a thread takes eight pixels, a byte of a mask.
struct FinishStructures {
    Rays rays;
    DeviceGrid grid;
    Collected collected;
    const std::int64_t* first_value;
    const std::int64_t* value_indices;
    const float* min_path_mm;
    std::int64_t structures;
    StructureOutputs outputs;

    DRRPROJ_HOST_DEVICE void operator()(std::uint32_t block, int thread) const {
        const std::int64_t groups = (rays.columns + 7) / 8, pieces = groups * rays.lines;
        const std::int64_t number = static_cast<std::int64_t>(block) * kBlockThreads + thread;
        if (number >= pieces * structures) return;
        const std::int64_t structure = number / pieces, line = number % pieces / groups;
        const auto group = static_cast<std::int32_t>(number % groups);
        const std::int64_t begin = first_value[structure], end = first_value[structure + 1];
        const float least = min_path_mm[structure];
        int bits = 0, low = 8, high = -1;
        for (int i = 0; i < 8; ++i) {
            const std::int32_t column = group * 8 + i;
            if (column >= rays.columns) break;
            const std::int64_t ray = line * rays.columns + column, at = structure * outputs.image_stride + ray;
            const auto sum_of = [&](const float* numbers) {
                float sum = 0.0f;
                for (std::int64_t k = begin; k < end; ++k) sum += numbers[value_indices[k] * collected.rays + ray];
                return sum;
            };
            const float mm_per_slab = collected.mm_per_slab[ray], mm = sum_of(collected.path) * mm_per_slab;
            if (outputs.path_length) outputs.path_length[at] = mm;
            if (outputs.label_line_integral) outputs.label_line_integral[at] = sum_of(collected.integral) * mm_per_slab;
            bits |= mm > least ? 0x80 >> i : 0;
            if (!(mm > 0.0f)) continue;
            low = low < i ? low : i;
            high = i;
            if (outputs.entry_depth || outputs.exit_depth) write_depth(line, column, ray, at, begin, end);
        }
        if (outputs.mask)
            outputs.mask[structure * outputs.mask_stride + line * groups + group] = static_cast<std::uint8_t>(bits);
        if (outputs.box && high >= 0) {
            const std::int64_t view = (rays.first_line + line) / rays.rows;
            const auto row = static_cast<std::int32_t>((rays.first_line + line) % rays.rows);
            std::int32_t* const box = outputs.box + (structure * outputs.views + view) * 4;
            raise(box[0], rays.rows - row);
            raise(box[1], row + 1);
            raise(box[2], rays.columns - (group * 8 + low));
            raise(box[3], group * 8 + high + 1);
        }
    }

  private:
    DRRPROJ_HOST_DEVICE void write_depth(std::int64_t line, std::int32_t column, std::int64_t number, std::int64_t at,
                                         std::int64_t begin, std::int64_t end) const {
        float from_start = 0.0f, from_end = 0.0f;
        for (std::int64_t k = begin; k < end; ++k) {
            const std::int64_t place = value_indices[k] * collected.rays + number;
            from_start = larger(from_start, collected.from_start[place]);
            from_end = larger(from_end, collected.from_end[place]);
        }
        const Ray ray = rays.ray(grid, line, column);
        const double low = (ray.size_x - static_cast<double>(from_end) - ray.origin_x) * ray.mm_per_slab;
        const double high = (static_cast<double>(from_start) - ray.origin_x) * ray.mm_per_slab;
        if (outputs.entry_depth) outputs.entry_depth[at] = static_cast<float>(ray.forwards ? low : -high);
        if (outputs.exit_depth) outputs.exit_depth[at] = static_cast<float>(ray.forwards ? high : -low);
    }
};

// Voxels as the caller has them, on the device; strides in bytes. Axes are sorted from the widest stride on.
struct Source {
    const char* voxels;
    NumberType type;
    std::int64_t size[3], stride[3];

    DRRPROJ_HOST_DEVICE std::int64_t count() const { return size[0] * size[1] * size[2]; }
};

// Call `use` with the number that lies there.
template <class Use>
DRRPROJ_HOST_DEVICE inline auto with_number_at(NumberType type, const char* at, const Use& use) {
    return with_number(type, [&](auto number) { return use(*reinterpret_cast<const decltype(number)*>(at)); });
}

// A thread takes one voxel of the source: where it lies, and where it goes.
struct Moved {
    Source source;
    std::int64_t first;      // of the source's first voxel, in voxels of the grid's memory
    std::int64_t stride[3];  // there, in the source's order of axes

    DRRPROJ_HOST_DEVICE bool places(std::uint32_t block, int thread, const char*& from, std::int64_t& to) const {
        const std::int64_t number = static_cast<std::int64_t>(block) * kBlockThreads + thread;
        if (number >= source.count()) return false;
        const std::int64_t line = number / source.size[2], k = number % source.size[2];
        const std::int64_t j = line % source.size[1], i = line / source.size[1];
        from = source.voxels + i * source.stride[0] + j * source.stride[1] + k * source.stride[2];
        to = first + i * stride[0] + j * stride[1] + k * stride[2];
        return true;
    }
};

// Attenuation, as floats: the model is applied once per voxel, and a NaN is air.
struct ConvertImage {
    Moved moved;
    Attenuation law;
    float* image;

    DRRPROJ_HOST_DEVICE void operator()(std::uint32_t block, int thread) const {
        const char* from;
        std::int64_t to;
        if (!moved.places(block, thread, from, to)) return;
        const float value =
            with_number_at(moved.source.type, from, [](auto number) { return static_cast<float>(number); });
        float mu = 0.0f;
        for (int i = 0; i < law.bends; ++i)
            if (value > law.knot[i]) mu = law.height[i] + law.slope[i] * (value - law.knot[i]);
        image[to] = law.bends > 0 ? mu : value == value ? value : 0.0f;
    }
};

// Codes: 1 + the index of a voxel's value, 0 for any other.
template <class Code>
struct ConvertLabels {
    Moved moved;
    const std::int64_t* values;
    std::int64_t count;
    Code* codes;

    DRRPROJ_HOST_DEVICE void operator()(std::uint32_t block, int thread) const {
        const char* from;
        std::int64_t to;
        if (!moved.places(block, thread, from, to)) return;
        const std::int64_t value =
            with_number_at(moved.source.type, from, [](auto number) { return static_cast<std::int64_t>(number); });
        codes[to] = static_cast<Code>(code_of(values, count, value));
    }
};

}  // namespace gpu
}  // namespace drrproj
