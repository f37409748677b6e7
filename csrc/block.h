// What of the volume is staged together: some slabs, and of each the box of voxels that a tile's rays meet.
#pragma once

#include <cstdint>

#include "brick.h"
#include "job.h"
#include "lanes.h"
#include "rays.h"
#include "walk.h"

namespace drrproj {
namespace DRRPROJ_ISA {
namespace {

// Some slabs of the volume, staged, with everything relative to an origin near the tile: floats stay exact there.
struct Block {
    Box box;
    int parity;                                                      // 0 and 1 take turns
    double x, u, v;                                                  // first plane and origin, whole numbers
    alignas(64) float corner_u[kBlockSlabs], corner_v[kBlockSlabs];  // the box's corners, relative to the origin
    const float* image;
    const void* label;
};

std::int64_t floor_of(double value) { return static_cast<std::int64_t>(__builtin_floor(value)); }

// What the rays of a tile span at the first and last plane of a block.
struct Span {
    double low[2], high[2];
};

// Find the columns that rays meet in each row of an upright box: less than all of them where lines of rays lie slanted.
void choose_strip(const Walk& walk, Block& block, double first, double last) {
    const Extents& extents = walk.extents;
    Box& box = block.box;
    constexpr double kFar = 1e300;
    const std::uint8_t* const relevant = extents.relevant[block.parity];
    double low = kFar, high = -kFar;
#pragma omp simd reduction(min : low) reduction(max : high)
    for (int i = 0; i < walk.count; ++i) {
        const double away = relevant[i] ? 0.0 : 2 * kFar;
        low = smaller(smaller(extents.strip_low.at(i, first), extents.strip_low.at(i, last)) + away, low);
        high = larger(larger(extents.strip_high.at(i, first), extents.strip_high.at(i, last)) - away, high);
    }
    // All slabs of an upright box share a corner.
    const double drift = walk.job.plan.drift;
    const double corner = static_cast<double>(box.u[0]) - drift * static_cast<double>(box.v[0]);
    box.strip_low = low - corner + smaller(0.0, drift) - 2 * static_cast<double>(kBoxMargin);
    box.strip_high = high - corner + larger(0.0, drift) + 2 * static_cast<double>(kBoxMargin);
    box.strip_step = drift;
}

// Choose the box of `slabs` slabs from plane x on; false when no ray of the tile meets the volume there.
bool choose_box(Walk& walk, const Grid& grid, std::int64_t x, int slabs, Block& block) {
    const double begin = static_cast<double>(x), end = static_cast<double>(x + slabs);
    const double size_u = static_cast<double>(grid.size[walk.axis_u]);
    const double size_v = static_cast<double>(grid.size[walk.axis_v]);
    Extents& extents = walk.extents;
    std::uint8_t* const relevant = extents.relevant[block.parity];
    const double first = begin - walk.begin, last = end - walk.begin;
    constexpr double kFar = 1e300;
    double u_low_first = kFar, u_low_last = kFar, u_high_first = -kFar, u_high_last = -kFar;
    double v_low_first = kFar, v_low_last = kFar, v_high_first = -kFar, v_high_last = -kFar;
    double meets[kMostPackets];
    // Compilers turn it into vectors, as long as nothing in it branches.
#pragma omp simd reduction(min : u_low_first, u_low_last, v_low_first, v_low_last) \
    reduction(max : u_high_first, u_high_last, v_high_first, v_high_last)
    for (int i = 0; i < walk.count; ++i) {
        const double ul0 = extents.u_low.at(i, first), ul1 = extents.u_low.at(i, last);
        const double uh0 = extents.u_high.at(i, first), uh1 = extents.u_high.at(i, last);
        const double vl0 = extents.v_low.at(i, first), vl1 = extents.v_low.at(i, last);
        const double vh0 = extents.v_high.at(i, first), vh1 = extents.v_high.at(i, last);
        const bool along_x = (extents.begin_low[i] < end) & (extents.end_high[i] > begin);
        const bool above_u = larger(uh0, uh1) >= 0.0, below_u = smaller(ul0, ul1) <= size_u;
        const bool above_v = larger(vh0, vh1) >= 0.0, below_v = smaller(vl0, vl1) <= size_v;
        const bool met = along_x & above_u & below_u & above_v & below_v;
        meets[i] = met ? 1.0 : 0.0;
        const auto lower = [&](double at, double low) { return smaller(met ? at : kFar, low); };
        const auto raised = [&](double at, double high) { return larger(met ? at : -kFar, high); };
        u_low_first = lower(ul0, u_low_first);
        u_low_last = lower(ul1, u_low_last);
        u_high_first = raised(uh0, u_high_first);
        u_high_last = raised(uh1, u_high_last);
        v_low_first = lower(vl0, v_low_first);
        v_low_last = lower(vl1, v_low_last);
        v_high_first = raised(vh0, v_high_first);
        v_high_last = raised(vh1, v_high_last);
    }
    for (int i = 0; i < walk.count; ++i) relevant[i] = meets[i] > 0.0;
    if (!(u_low_first <= u_high_first)) return false;
    block.x = begin;
    block.u = __builtin_floor(u_low_first);
    block.v = __builtin_floor(v_low_first);
    const Span u{{u_low_first - block.u, u_low_last - block.u}, {u_high_first - block.u, u_high_last - block.u}};
    const Span v{{v_low_first - block.v, v_low_last - block.v}, {v_high_first - block.v, v_high_last - block.v}};

    Box& box = block.box;
    box.axis_x = walk.axis_x;
    box.axis_u = walk.axis_u;
    box.axis_v = walk.axis_v;
    box.x = x;
    box.slabs = slabs;
    box.upright = walk.job.plan.upright;
    struct Range {
        std::int64_t u_low, u_high, v_low, v_high;
    };
    // What the rays meet in the slabs from `first` to `last`.
    const auto range = [&](int first, int last) {
        const double from = static_cast<double>(first) / slabs, to = static_cast<double>(last) / slabs;
        const auto low = [&](const Span& span) {
            const double change = span.low[1] - span.low[0];
            return floor_of(span.low[0] + smaller(from * change, to * change) - kBoxMargin);
        };
        const auto high = [&](const Span& span) {
            const double change = span.high[1] - span.high[0];
            return floor_of(span.high[0] + larger(from * change, to * change) + kBoxMargin);
        };
        return Range{low(u), high(u), low(v), high(v)};
    };
    const Range all = range(0, slabs);
    // Slab by slab what `range` would give, in loops that compilers turn into vectors; how far the slabs reach.
    const auto follow = [&](const Span& span, double origin, std::int64_t all_low, std::int64_t all_high,
                            float* corners, std::int64_t* places) {
        alignas(64) double low[kBlockSlabs], size[kBlockSlabs];
        const double low_change = span.low[1] - span.low[0], high_change = span.high[1] - span.high[0];
        for (int s = 0; s < kBlockSlabs; ++s) {
            const double from = static_cast<double>(s) / slabs, to = static_cast<double>(s + 1) / slabs;
            low[s] = __builtin_floor(span.low[0] + smaller(from * low_change, to * low_change) - kBoxMargin);
            size[s] = __builtin_floor(span.high[0] + larger(from * high_change, to * high_change) + kBoxMargin) -
                      low[s] + 1.0;
        }
        for (int s = 0; s < kBlockSlabs && box.upright; ++s) {
            low[s] = static_cast<double>(all_low);
            size[s] = static_cast<double>(all_high - all_low + 1);
        }
        for (int s = 0; s < kBlockSlabs; ++s) corners[s] = static_cast<float>(low[s]);
        for (int s = 0; s < kBlockSlabs; ++s) places[s] = static_cast<std::int64_t>(low[s] + origin);
        double most = 0.0;
        for (int s = 0; s < slabs; ++s) most = larger(most, size[s]);
        return static_cast<std::int64_t>(most);
    };
    const std::int64_t width = follow(u, block.u, all.u_low, all.u_high, block.corner_u, box.u);
    const std::int64_t rows = follow(v, block.v, all.v_low, all.v_high, block.corner_v, box.v);
    for (int run = 0; run < kRuns && run * kRunSlabs < slabs; ++run) {
        const Range met = range(run * kRunSlabs, smaller((run + 1) * kRunSlabs, slabs));
        box.first_column[run] = static_cast<int>(met.u_low - all.u_low);
        box.last_column[run] = static_cast<int>(met.u_high - all.u_low);
        box.first_row[run] = static_cast<int>(met.v_low - all.v_low);
        box.last_row[run] = static_cast<int>(met.v_high - all.v_low);
    }
    // Whole lines of the cache, so that windows can begin where lines begin.
    const std::int64_t pitch = (width + kLineFloats - 1) / kLineFloats * kLineFloats;
    if (pitch * rows * slabs > kBrickFloats || pitch > kMostPitch) {
        box.slabs = 0;
        return true;
    }
    box.width = static_cast<int>(width);
    box.pitch = static_cast<int>(pitch);
    box.rows = static_cast<int>(rows);
    if (box.upright) choose_strip(walk, block, first, last);
    return true;
}

// The blocks of a tile as they were chosen, where a walk through its labels follows that through its image.
class ChosenBlocks {
  public:
    explicit ChosenBlocks(bool walked_twice) : walked_twice_(walked_twice) {}

    // What choose_box() gives, from memory where it was asked the same at this place of the walk before.
    bool choose(Walk& walk, const Grid& grid, std::int64_t x, int slabs, Block& block) {
        if (next_ < count_ && kept_[next_].x == x && kept_[next_].slabs == slabs) {
            const Kept& kept = kept_[next_++];
            const Block was = block;
            block = kept.block;
            block.parity = was.parity;
            block.image = was.image;
            block.label = was.label;
            __builtin_memcpy(walk.extents.relevant[block.parity], kept.relevant, static_cast<std::size_t>(walk.count));
            return kept.meets;
        }
        const bool meets = choose_box(walk, grid, x, slabs, block);
        if (walked_twice_ && next_ == count_ && count_ < kMost) {
            Kept& kept = kept_[count_++];
            kept.x = x;
            kept.slabs = slabs;
            kept.meets = meets;
            kept.block = block;
            __builtin_memcpy(kept.relevant, walk.extents.relevant[block.parity], static_cast<std::size_t>(walk.count));
            next_ = count_;
        }
        return meets;
    }
    void start_again() { next_ = 0; }

  private:
    static constexpr int kMost = 32;
    struct Kept {
        std::int64_t x;
        int slabs;
        bool meets;
        Block block;
        std::uint8_t relevant[kMostPackets];
    };
    Kept kept_[kMost];
    const bool walked_twice_;
    int count_ = 0, next_ = 0;
};

// Does what is staged together fit the brick, wherever it is: one slab under the whole tile, or where x is contiguous a
// run of them? With fewer, memory would read each line many times.
bool fits(const Walk& walk) {
    const Extents& extents = walk.extents;
    const double slabs = walk.job.plan.upright ? smaller(static_cast<double>(kRunSlabs), walk.end - walk.begin) : 1.0;
    double most_width = 0.0, area = 0.0;
    for (int side = 0; side < 2; ++side) {
        const double at = side ? walk.end - walk.begin : 0.0;
        double low[2] = {1e300, 1e300}, high[2] = {-1e300, -1e300}, motion[2] = {0.0, 0.0};
        const auto include = [&](int which, const Bound& lowest, const Bound& highest, int i) {
            low[which] = smaller(low[which], lowest.at(i, at));
            high[which] = larger(high[which], highest.at(i, at));
            motion[which] = larger(motion[which], __builtin_fabs(lowest.change[i]));
            motion[which] = larger(motion[which], __builtin_fabs(highest.change[i]));
        };
        for (int i = 0; i < walk.count; ++i) {
            include(0, extents.u_low, extents.u_high, i);
            include(1, extents.v_low, extents.v_high, i);
        }
        // One voxel at each end for rounding, what the slabs move the rays sideways, and the rest of a line.
        const double width = high[0] - low[0] + 2.0 + slabs * motion[0] + kLineFloats;
        most_width = larger(most_width, width);
        area = larger(area, width * (high[1] - low[1] + 2.0 + slabs * motion[1]));
    }
    return most_width <= kMostPitch && area * slabs <= kBrickFloats;
}

}  // namespace
}  // namespace DRRPROJ_ISA
}  // namespace drrproj
