// The walk of one tile of rays: set up, staged block by block or read in place, walked packet by packet. Compiled once
// per instruction set, into a namespace of its own.
#include "tile.h"

#include <cstddef>
#include <type_traits>

#include "brick.h"
#include "collection.h"
#include "lanes.h"
#include "uniform.h"
#include "walk.h"

namespace drrproj {
namespace DRRPROJ_ISA {
namespace {

constexpr int N = Lanes::width;
constexpr int kFour = 4;  // packets that are walked together
// Bounds allow for rounding: a packet's rows and columns for that of the walk, a box for that of its packets' bounds.
constexpr float kPacketMargin = 1e-3f;
constexpr float kBoxMargin = 2e-3f;

// N neighbouring rays, all with the same steepest axis. Lanes without a pixel repeat a lane that has one.
struct alignas(64) Packet {
    double u[N], v[N], du[N], dv[N];                         // u(x) = u + x * du
    double begin[N], end[N];                                 // where the ray exists, in x
    float motion_u[N], slope_u[N], motion_v[N], slope_v[N];  // du and dv with what crossing_of makes of them
    float mm_per_slab[N], sum[N];
    std::int32_t row[N], column[N];  // column -1: no pixel
    bool in_line;                    // the lanes are neighbouring columns of one row
};

// What bounds the rays of each packet: lowest and highest u and v at the tile's first plane, their change per slab, and
// where the rays begin and end. The lowest of many straight lines lies above the straight line between its values at
// the tile's two ends (and on it for the rays of one source), so that line bounds every plane between. Of two blocks,
// the one walked and the one staged, it says which packets have work there.
struct Bound {
    double first[kMostPackets], change[kMostPackets];
    double at(int packet, double slabs) const { return first[packet] + slabs * change[packet]; }
};
struct alignas(64) Extents {
    Bound u_low, u_high, v_low, v_high;
    Bound strip_low, strip_high;  // of u less what it drifts with v, for upright boxes
    double begin_low[kMostPackets], begin_high[kMostPackets], end_low[kMostPackets], end_high[kMostPackets];
    std::uint8_t relevant[2][kMostPackets];
};
static_assert(sizeof(Packet) * kMostPackets + sizeof(Extents) <= kPacketBytes, "the driver allocates this much");

// Some slabs of the volume, staged, with everything relative to an origin near the tile: floats stay exact there.
struct Block {
    Box box;
    int parity;                                                      // 0 and 1 take turns
    double x, u, v;                                                  // first plane and origin, whole numbers
    alignas(64) float corner_u[kBlockSlabs], corner_v[kBlockSlabs];  // the box's corners, relative to the origin
    const float* image;
    const void* label;
};

struct Walk {
    const Job& job;
    int axis_x, axis_u, axis_v;
    std::int64_t size_x;
    Packet* packets;
    Extents& extents;
    int count;
    double begin, end;
    bool in_fours;                  // each four packets are neighbouring lines and differ in v alone
    int fours_in_line;              // that come one after the other, if so
    double line_of[N], lane_of[N];  // of a packet's rays, from its first
};

void direction_of(const Plan& plan, double row, double column, double point[3], double direction[3]) {
    for (int axis = 0; axis < 3; ++axis) {
        point[axis] = plan.first_pixel[axis] + row * plan.row_step[axis] + column * plan.column_step[axis];
        direction[axis] = plan.parallel ? -plan.source[axis] : point[axis] - plan.source[axis];
    }
}

int steepest_axis(const double direction[3]) {
    const double x = __builtin_fabs(direction[0]), y = __builtin_fabs(direction[1]), z = __builtin_fabs(direction[2]);
    return x >= y && x >= z ? 0 : y >= z ? 1 : 2;
}

// Fill one packet from `line` and `lane` on; false when none of its pixels exists with this steepest axis. Its loops
// are kept plain so that compilers turn them into vectors.
bool set_up_packet(const Walk& walk, std::int64_t line, std::int64_t lane, int lines, int lanes, Packet& packet) {
    const Job& job = walk.job;
    const Plan& plan = job.plan;
    const Grid& grid = job.image ? *job.image : *job.label;
    const int x = walk.axis_x, u = walk.axis_u, v = walk.axis_v;
    alignas(64) double row[N], column[N], p[3][N], d[3][N], exists[N];
    double* const along = plan.lanes_are_rows ? row : column;
    double* const across = plan.lanes_are_rows ? column : row;
    const double first_lane = static_cast<double>(lane), first_line = static_cast<double>(line), shear = plan.shear;
    for (int i = 0; i < N; ++i) along[i] = first_lane + walk.lane_of[i];
    for (int i = 0; i < N; ++i) across[i] = first_line + walk.line_of[i] + __builtin_floor(shear * along[i] + 0.5);
    for (int axis = 0; axis < 3; ++axis) {
        const double first = plan.first_pixel[axis], row_step = plan.row_step[axis], step = plan.column_step[axis];
        // A parallel beam's source is a direction.
        const double point_counts = plan.parallel ? 0.0 : 1.0, source = plan.source[axis];
        double* const points = p[axis];
        double* const directions = d[axis];
        for (int i = 0; i < N; ++i) points[i] = first + row[i] * row_step + column[i] * step;
        for (int i = 0; i < N; ++i) directions[i] = point_counts * points[i] - source;
    }
    // The first of equally steep axes counts, as in steepest_axis.
    const double* const steep = d[x];
    const double* const before = d[x == 0 ? 1 : 0];
    const double* const after = d[x == 2 ? 1 : 2];
    const bool before_yields = x == 0, after_yields = x < 2;
    const double rows = static_cast<double>(job.rows), columns = static_cast<double>(job.columns);
    const double line_end = lines, lane_end = lanes;
    double some = 0.0, all = 1.0;
#pragma omp simd reduction(max : some) reduction(min : all)
    for (int i = 0; i < N; ++i) {
        const double steepness = __builtin_fabs(steep[i]);
        const double one = __builtin_fabs(before[i]), other = __builtin_fabs(after[i]);
        const bool steepest = ((steepness > one) | (before_yields & (steepness == one))) &
                              ((steepness > other) | (after_yields & (steepness == other))) & (steepness > 0.0);
        const bool inside = (row[i] >= 0.0) & (row[i] < rows) & (column[i] >= 0.0) & (column[i] < columns) &
                            (walk.line_of[i] < line_end) & (walk.lane_of[i] < lane_end);
        exists[i] = steepest & inside ? 1.0 : 0.0;
        some = exists[i] > some ? exists[i] : some;
        all = exists[i] < all ? exists[i] : all;
    }
    if (some == 0.0) return false;
    const double size = static_cast<double>(grid.size[x]), source = plan.source[x];
    const double* const m = plan.metric;
    for (int i = 0; i < N; ++i) {
        packet.row[i] = static_cast<std::int32_t>(row[i]);
        packet.column[i] = exists[i] > 0.0 ? static_cast<std::int32_t>(column[i]) : -1;
        const double per_slab = 1.0 / d[x][i];
        packet.du[i] = d[u][i] * per_slab;
        packet.dv[i] = d[v][i] * per_slab;
        packet.u[i] = p[u][i] - p[x][i] * packet.du[i];
        packet.v[i] = p[v][i] - p[x][i] * packet.dv[i];
        // A ray that ends before the volume or begins behind it is empty, and stays inside what may be read.
        const double low = plan.parallel ? 0.0 : larger(0.0, smaller(source, p[x][i]));
        const double high = plan.parallel ? size : smaller(size, larger(source, p[x][i]));
        packet.begin[i] = smaller(low, size);
        packet.end[i] = larger(packet.begin[i], high);
        const double d0 = d[0][i], d1 = d[1][i], d2 = d[2][i];
        const double squared = d0 * (m[0] * d0 + m[3] * d1 + m[4] * d2) + d1 * (m[1] * d1 + m[5] * d2) + m[2] * d2 * d2;
        packet.mm_per_slab[i] = static_cast<float>(__builtin_sqrt(squared) * __builtin_fabs(per_slab));
        packet.sum[i] = 0.0f;
    }
    std::int32_t apart = 0;
    for (int i = 0; i < N; ++i)
        apart |=
            (packet.row[i] ^ packet.row[0]) | (packet.column[i] ^ (packet.column[0] + i)) | (packet.column[i] >> 31);
    packet.in_line = apart == 0;
    int with_pixel = 0;
    while (exists[with_pixel] == 0.0) ++with_pixel;
    for (int i = 0; i < N && all == 0.0; ++i) {
        if (exists[i] > 0.0) continue;
        packet.u[i] = packet.u[with_pixel];
        packet.v[i] = packet.v[with_pixel];
        packet.du[i] = packet.du[with_pixel];
        packet.dv[i] = packet.dv[with_pixel];
        packet.begin[i] = packet.begin[with_pixel];
        packet.end[i] = packet.end[with_pixel];
        packet.mm_per_slab[i] = 0.0f;
    }
    const auto keep_crossing = [](const double (&per_slab)[N], float (&motion)[N], float (&slope)[N]) {
        for (int i = 0; i < N; ++i) motion[i] = static_cast<float>(per_slab[i]);
        crossing_of(Lanes::load(motion)).slope.store(slope);
    };
    keep_crossing(packet.du, packet.motion_u, packet.slope_u);
    keep_crossing(packet.dv, packet.motion_v, packet.slope_v);
    return true;
}

void lowest_and_highest(const double (&position)[N], const double (&motion)[N], double x, double& low, double& high) {
    double lowest = 1e300, highest = -1e300;
#pragma omp simd reduction(min : lowest) reduction(max : highest)
    for (int i = 0; i < N; ++i) {
        const double at = position[i] + x * motion[i];
        lowest = at < lowest ? at : lowest;
        highest = at > highest ? at : highest;
    }
    low = lowest;
    high = highest;
}

void set_up(Walk& walk, const Tile& tile) {
    const int packet_lines = walk.job.plan.packet_lines, packet_lanes = N / packet_lines;
    Extents& extents = walk.extents;
    constexpr double still[N] = {};
    for (int i = 0; i < N; ++i) {
        walk.line_of[i] = i / packet_lanes;
        walk.lane_of[i] = i % packet_lanes;
    }
    walk.count = 0;
    walk.begin = 1e300;
    walk.end = -1e300;
    const auto add = [&](int line, int lane) {
        const int at = walk.count;
        Packet& packet = walk.packets[at];
        if (!set_up_packet(walk, tile.line + line, tile.lane + lane, tile.lines - line, tile.lanes - lane, packet))
            return;
        ++walk.count;
        lowest_and_highest(packet.begin, still, 0.0, extents.begin_low[at], extents.begin_high[at]);
        lowest_and_highest(packet.end, still, 0.0, extents.end_low[at], extents.end_high[at]);
        walk.begin = smaller(walk.begin, extents.begin_low[at]);
        walk.end = larger(walk.end, extents.end_high[at]);
    };
    // Such lines come in fours where they can; the rest of a tile's lines, or a missing packet, leave none.
    const int fours = walk.job.plan.lines_share_u && tile.lines % kFour == 0 ? kFour : 1;
    for (int line = 0; line < tile.lines; line += fours * packet_lines)
        for (int lane = 0; lane < tile.lanes; lane += packet_lanes)
            for (int i = 0; i < fours; ++i) add(line + i * packet_lines, lane);
    const int lanes_of_packets = (tile.lanes + packet_lanes - 1) / packet_lanes;
    walk.in_fours = fours == kFour && walk.count == tile.lines * lanes_of_packets;
    walk.fours_in_line = lanes_of_packets;
    for (int i = 0; i < walk.count && walk.in_fours; ++i) {
        const Packet& first = walk.packets[i / kFour * kFour];
        Packet& packet = walk.packets[i];
        __builtin_memcpy(packet.u, first.u, sizeof(packet.u));
        __builtin_memcpy(packet.du, first.du, sizeof(packet.du));
        __builtin_memcpy(packet.motion_u, first.motion_u, sizeof(packet.motion_u));
        __builtin_memcpy(packet.slope_u, first.slope_u, sizeof(packet.slope_u));
    }
    if (walk.count == 0 || !(walk.begin < walk.end)) {
        walk.count = 0;
        return;
    }
    // Whole planes, so that no block reaches beyond the two whose extremes bound what lies between.
    walk.begin = __builtin_floor(walk.begin);
    walk.end = __builtin_ceil(walk.end);
    const double per_slab = 1.0 / (walk.end - walk.begin);
    for (int i = 0; i < walk.count; ++i) {
        const Packet& packet = walk.packets[i];
        const auto bound = [&](const double (&position)[N], const double (&motion)[N], Bound& lowest, Bound& highest) {
            double low, high;
            lowest_and_highest(position, motion, walk.begin, lowest.first[i], highest.first[i]);
            lowest_and_highest(position, motion, walk.end, low, high);
            lowest.change[i] = (low - lowest.first[i]) * per_slab;
            highest.change[i] = (high - highest.first[i]) * per_slab;
        };
        bound(packet.u, packet.du, extents.u_low, extents.u_high);
        bound(packet.v, packet.dv, extents.v_low, extents.v_high);
        if (!walk.job.plan.upright) continue;
        double strip[N], motion[N];
        for (int k = 0; k < N; ++k) strip[k] = packet.u[k] - walk.job.plan.drift * packet.v[k];
        for (int k = 0; k < N; ++k) motion[k] = packet.du[k] - walk.job.plan.drift * packet.dv[k];
        bound(strip, motion, extents.strip_low, extents.strip_high);
    }
}

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
        const bool met = (extents.begin_low[i] < end) & (extents.end_high[i] > begin) & (larger(uh0, uh1) >= 0.0) &
                         (smaller(ul0, ul1) <= size_u) & (larger(vh0, vh1) >= 0.0) & (smaller(vl0, vl1) <= size_v);
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

// What is read of the voxels that a slab meets: of entry, behind the first crossing, behind both.
template <int Count>
struct Codes {
    Index code[Count];
};

// How the voxels that a packet meets in a slab are read.
enum Reading : std::int32_t {
    one_row,
    tall_patch,
    wide_patch,
    tall_patch_of_6,
    tall_patch_of_8,
    wide_patch_of_8,
    wide_patch_of_12,
    anywhere
};
constexpr int kReadings = 8;

// For each slab of a block: how a packet reads it, and from where.
struct alignas(64) Places {
    std::int32_t at[kBlockSlabs];                    // of the lowest row and column read, in the brick
    float from_u[kBlockSlabs], from_v[kBlockSlabs];  // kRound less that column and row
    // Where labels are walked, slab after slab: the reading, and what of it the packet may meet.
    std::int32_t reading[kBlockSlabs], rows[kBlockSlabs], column[kBlockSlabs], last_column[kBlockSlabs];
    // By reading: a bit for each slab. Where labels are walked, of one_row alone.
    std::uint32_t read_so[kReadings];
};

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
        const Mask narrow = is_at_most(to - from, N - 1), wide = is_at_most(to - from, 2 * N - 1);
        Lanes reading(static_cast<float>(Reading::anywhere)), breadth = width + width;
        const auto prefer = [&](Mask possible, Reading better) {
            reading = choose(possible, Lanes(static_cast<float>(better)), reading);
        };
        if (kHasPatches) {
            const Mask in_4 = narrow & is_at_most(rows, 4), in_8 = narrow & is_at_most(rows, 8);
            prefer(wide & is_at_most(rows, 6), Reading::wide_patch_of_12);
            prefer(wide & is_at_most(rows, 4), Reading::wide_patch_of_8);
            prefer(in_8, Reading::tall_patch_of_8);
            prefer(narrow & is_at_most(rows, 6), Reading::tall_patch_of_6);
            breadth = choose(in_8, width, breadth);
            prefer(wide & is_at_most(rows, 2), Reading::wide_patch);
            breadth = choose(wide & is_at_most(rows, 2), width + width, breadth);
            prefer(in_4, Reading::tall_patch);
            breadth = choose(in_4, width, breadth);
        }
        const Mask in_one_row = wide & is_at_most(rows, 1);
        prefer(in_one_row, Reading::one_row);
        breadth = choose(in_one_row, width + width, breadth);
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
    return {Lanes::load(middle),
            motions,
            to_index(Lanes::load(voxel)),
            to_index(choose(less(motions, zero), Lanes(-1.0f), Lanes(1.0f))),
            {slope, Lanes(0.5f) * larger(slope, zero - slope)}};
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

// The image summed over the four voxels that a ray may meet in a slab: two neighbours of a row, and those of the next.
class Squares {
  public:
    // In line, so that walks which never read squares do not set them up.
    __attribute__((always_inline)) Squares(const Coordinate& u, const Coordinate& v, int pitch)
        : pitch_(static_cast<float>(pitch)) {
        const unsigned down_u = bits(less(u.motion, Lanes(0.0f))), down_v = bits(less(v.motion, Lanes(0.0f)));
        alike_ = (down_u == 0 || down_u == all_lanes) && (down_v == 0 || down_v == all_lanes);
        forwards_ = down_u == 0;
        to_next_row_ = down_v == 0 ? pitch : -pitch;
        const Lanes first = to_lanes(u.voxel) - Lanes(forwards_ ? 0.0f : 1.0f);
        first_ = multiply_add(to_lanes(v.voxel), pitch_, first);
    }
    // Do all rays of the packet move the same way? Only then do their squares lie alike.
    bool alike() const { return alike_; }
    // Out of line, where some compilers put it, its arguments would travel through memory.
    __attribute__((always_inline)) void add(const float* image, const Standing& in_u, const Standing& in_v,
                                            const Shares<Lanes>& shares, Mask u_first) {
        const Lanes round(kRound), zero(0.0f);
        const Index at = to_index(multiply_add(in_v.rounded - round, pitch_, in_u.rounded - round + first_));
        // One of the two is zero: what is read there does not count.
        const Lanes next_column = choose(u_first, shares.middle, zero), next_row = shares.middle - next_column;
        if (forwards_) {
            sum_.add(image, at, shares.entry, next_column);
            sum_.add(image + to_next_row_, at, next_row, shares.exit);
        } else {
            sum_.add(image, at, next_column, shares.entry);
            sum_.add(image + to_next_row_, at, shares.exit, next_row);
        }
    }
    Lanes total() const { return sum_.total(); }

  private:
    Lanes pitch_, first_;
    bool alike_, forwards_;
    std::ptrdiff_t to_next_row_;
    PairSum sum_;
};

// By code; null where codes are indices.
const std::int32_t* index_of_codes(const Job& job) {
    return size_of(job.label->type) == 1 ? job.index_of_small_value : nullptr;
}

// Memory takes only so many requests at once: a few lines of the next block are asked for every so many slabs.
constexpr int kAskSlabs = 4;

// A bit for each slab of a block.
std::uint32_t bits_of_slabs(const Box& box) { return ~std::uint32_t{0} >> (kBlockSlabs - box.slabs); }

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

// Walk the slabs whose bit is set.
template <bool Partial, int What, class Code>
__attribute__((noinline)) void walk_packet(const Walk& walk, const Block& block, int index, const Places& places,
                                           std::uint32_t wanted, Collection& collection, Staging& next) {
    constexpr bool Image = What & kImage, Label = What & kLabel;
    Packet& packet = walk.packets[index];
    const Box& box = block.box;
    const int slabs = box.slabs, middle = slabs / 2;
    const float* const steps = kSlabs.from(middle);
    const Coordinate u = coordinate_of(packet.u, packet.du, packet.motion_u, packet.slope_u, block.x + middle, block.u);
    // Nothing reads it where rays cross in u alone.
    Coordinate v = u;
    if (wanted & ~places.read_so[Reading::one_row])
        v = coordinate_of(packet.v, packet.dv, packet.motion_v, packet.slope_v, block.x + middle, block.v);
    Limits limits;
    if (Partial) limits = limits_of(packet, block.x);
    const Lanes zero(0.0f), one(1.0f);
    Lanes sum_entry = zero, sum_middle = zero, sum_exit = zero;
    constexpr bool kInSquares = kHasPairs && What == kImage;
    Squares squares(u, v, box.pitch);
    const float size_x = static_cast<float>(walk.size_x), first_x = static_cast<float>(block.x);
    const Code* const labels = static_cast<const Code*>(block.label);
    const std::int32_t* const index_of_code = Label ? index_of_codes(walk.job) : nullptr;
    // Any label that the first slab may meet will do, if it does not depend on what was walked before: the order of
    // adding shows in the last bits.
    const int first_code = Label ? labels[places.at[0] + places.column[0]] : 0;
    Following<What> following(collection, index, size_x, index_of_code, first_code);
    Lanes begin = zero, end = one;
    // Does a packet read nothing but the label it is in?
    const auto stays = [&](int s) {
        if (Partial || !Label || places.reading[s] == Reading::anywhere) return false;
        const Code* row = labels + places.at[s];
        for (int rest = places.rows[s]; rest > 0; --rest, row += box.pitch)
            if (!all_are(row, following.code(), places.column[s], places.last_column[s])) return false;
        return true;
    };
    const auto walk_slab = [&](int s, auto reading) {
        const Lanes step(steps[s]);
        if (Partial) {
            const Limits here = limits.within(Lanes(kSlabNumbers[s]));
            begin = here.begin;
            end = here.end;
        }
        const Standing in_u = standing_at(u, step, Lanes(places.from_u[s]));
        const Lanes leaves_u = in_u.leaves;
        const Index entry_u = in_u.voxel() + u.voxel;
        if (reading == Reading::one_row) {
            // Only crossings in u matter.
            const Lanes leaves = Partial ? smaller(larger(leaves_u, begin), end) : leaves_u;
            const Shares<Lanes> shares{leaves - begin, zero, end - leaves};
            const Index exit_u = entry_u + u.step;
            Met<2> met{{shares.entry, shares.exit}, {zero, zero}};
            if (Image) {
                const float* const row = block.image + places.at[s];
                met.mu[0] = as_lanes(window(row, entry_u));
                met.mu[1] = as_lanes(window(row, exit_u));
                sum_entry = multiply_add(shares.entry, met.mu[0], sum_entry);
                sum_exit = multiply_add(shares.exit, met.mu[1], sum_exit);
            }
            if (Label) {
                const Code* const row = labels + places.at[s];
                following.template slab<!Partial>(
                    met, first_x + kSlabNumbers[s], begin, Image && following.is_in_one() && stays(s),
                    [&] { return Codes<2>{{window(row, entry_u), window(row, exit_u)}}; });
            }
            return;
        }
        const Standing in_v = standing_at(v, step, Lanes(places.from_v[s]));
        const Lanes leaves_v = in_v.leaves;
        const Shares<Lanes> shares =
            Partial ? slab_shares(leaves_u, leaves_v, begin, end) : slab_shares(leaves_u, leaves_v);
        const Mask u_first = less(leaves_u, leaves_v);
        const auto collect = [&](const auto& read) {
            Met<3> met{{shares.entry, shares.middle, shares.exit}, {zero, zero, zero}};
            if (Image) {
                const Codes<3> mu = read(block.image + places.at[s]);
                for (int i = 0; i < 3; ++i) met.mu[i] = as_lanes(mu.code[i]);
                sum_entry = multiply_add(shares.entry, met.mu[0], sum_entry);
                sum_middle = multiply_add(shares.middle, met.mu[1], sum_middle);
                sum_exit = multiply_add(shares.exit, met.mu[2], sum_exit);
            }
            if (Label) {
                const Code* const from = labels + places.at[s];
                following.template slab<!Partial>(met, first_x + kSlabNumbers[s], begin,
                                                  Image && following.is_in_one() && stays(s),
                                                  [&] { return read(from); });
            }
        };
        const auto collect_patch = [&](auto registers, int per_row) {
            const int shift = kRegisterShift + per_row - 1;
            const Index across_v = shifted(v.step, shift), across_both = u.step + across_v;
            const Index entry = shifted(in_v.voxel(), shift) + in_u.voxel() + (shifted(v.voxel, shift) + u.voxel);
            const Index middle_at = entry + choose(u_first, u.step, across_v), exit_at = entry + across_both;
            collect([&](const auto* from) {
                const Patch<decltype(registers)::value> patch(from, box.pitch, per_row);
                return Codes<3>{{patch.pick(entry), patch.pick(middle_at), patch.pick(exit_at)}};
            });
        };
        switch (reading) {
            case Reading::tall_patch:
                collect_patch(std::integral_constant<int, 4>(), 1);
                break;
            case Reading::wide_patch:
                collect_patch(std::integral_constant<int, 4>(), 2);
                break;
            case Reading::tall_patch_of_6:
                collect_patch(std::integral_constant<int, 6>(), 1);
                break;
            case Reading::tall_patch_of_8:
                collect_patch(std::integral_constant<int, 8>(), 1);
                break;
            case Reading::wide_patch_of_8:
                collect_patch(std::integral_constant<int, 8>(), 2);
                break;
            case Reading::wide_patch_of_12:
                collect_patch(std::integral_constant<int, 12>(), 2);
                break;
            default: {
                if (kInSquares && squares.alike())
                    return squares.add(block.image + places.at[s], in_u, in_v, shares, u_first);
                const Lanes round(kRound), pitch(static_cast<float>(box.pitch));
                const Lanes step_u = to_lanes(u.step), step_v = to_lanes(v.step) * pitch;
                const Lanes entry = multiply_add(in_v.rounded - round + to_lanes(v.voxel), pitch,
                                                 in_u.rounded - round + to_lanes(u.voxel));
                // A voxel without a share may lie outside the brick: read the voxel of entry instead.
                const auto there = [&](Lanes share, Lanes way) {
                    return to_index(choose(positive(share), entry + way, entry));
                };
                const Index middle_at = there(shares.middle, choose(u_first, step_u, step_v));
                const Index exit_at = there(shares.exit, step_u + step_v);
                collect([&](const auto* from) {
                    return Codes<3>{{gather(from, to_index(entry)), gather(from, middle_at), gather(from, exit_at)}};
                });
            }
        }
    };
    const auto each_of = [&](std::uint32_t slabs, const auto& walk_one) {
        for (; slabs; slabs &= slabs - 1) {
            const int s = __builtin_ctz(slabs);
            if (s % kAskSlabs == 0) next.ask();
            walk_one(s);
        }
    };
    if constexpr (What == kImage) {
        // One reading after the other: from slab to slab they change as no processor can foresee.
        const auto walk_read_so = [&](auto reading) {
            each_of(wanted & places.read_so[reading], [&](int s) { walk_slab(s, reading); });
        };
        walk_read_so(std::integral_constant<int, Reading::one_row>());
        if constexpr (kHasPatches) {
            walk_read_so(std::integral_constant<int, Reading::tall_patch>());
            walk_read_so(std::integral_constant<int, Reading::wide_patch>());
            walk_read_so(std::integral_constant<int, Reading::tall_patch_of_6>());
            walk_read_so(std::integral_constant<int, Reading::tall_patch_of_8>());
            walk_read_so(std::integral_constant<int, Reading::wide_patch_of_8>());
            walk_read_so(std::integral_constant<int, Reading::wide_patch_of_12>());
        }
        walk_read_so(std::integral_constant<int, Reading::anywhere>());
    } else {
        each_of(wanted, [&](int s) {
            if (!Image && following.is_in_one() && stays(s))
                following.stay();
            else
                walk_slab(s, places.reading[s]);
        });
    }
    if (kInSquares) sum_middle = sum_middle + squares.total();
    if (Image) (Lanes::load(packet.sum) + (sum_entry + sum_middle + sum_exit)).store(packet.sum);
    if (Label) following.settle(first_x + static_cast<float>(slabs));
}

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
    const Crossing<Lanes> crossing{slope, Lanes(0.5f) * larger(slope, zero - slope)};
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

// A part of index space, by array axis.
struct Region {
    double low[3], high[3];
};

bool may_hold_something(const Cells& cells, const Region& region) {
    if (!cells.hold_something) return true;
    std::int64_t first[3], last[3];
    for (int axis = 0; axis < 3; ++axis) {
        first[axis] = clamp(floor_of(region.low[axis]) / kCellVoxels, 0, cells.count[axis] - 1);
        last[axis] = clamp(floor_of(region.high[axis]) / kCellVoxels, 0, cells.count[axis] - 1);
    }
    for (std::int64_t i = first[0]; i <= last[0]; ++i)
        for (std::int64_t j = first[1]; j <= last[1]; ++j)
            for (std::int64_t k = first[2]; k <= last[2]; ++k)
                if (cells.hold_something[(i * cells.count[1] + j) * cells.count[2] + k]) return true;
    return false;
}

bool may_hold_something(const Job& job, const Region& region) {
    return (job.image && may_hold_something(job.image_cells, region)) ||
           (job.label && may_hold_something(job.label_cells, region));
}

Region region_of(const Box& box) {
    Region region;
    region.low[box.axis_x] = static_cast<double>(box.x);
    region.high[box.axis_x] = static_cast<double>(box.x + box.slabs - 1);
    const int last = box.slabs - 1;
    // Corners move steadily from slab to slab.
    region.low[box.axis_u] = static_cast<double>(smaller(box.u[0], box.u[last]));
    region.high[box.axis_u] = static_cast<double>(larger(box.u[0], box.u[last]) + box.width - 1);
    region.low[box.axis_v] = static_cast<double>(smaller(box.v[0], box.v[last]));
    region.high[box.axis_v] = static_cast<double>(larger(box.v[0], box.v[last]) + box.rows - 1);
    return region;
}

Region region_of(const Walk& walk, const Box& box, int packet) {
    const double begin = static_cast<double>(box.x) - walk.begin, end = begin + box.slabs;
    Region region;
    region.low[box.axis_x] = static_cast<double>(box.x);
    region.high[box.axis_x] = static_cast<double>(box.x + box.slabs - 1);
    const auto span = [&](int axis, const Bound& low, const Bound& high) {
        region.low[axis] = smaller(low.at(packet, begin), low.at(packet, end)) - kBoxMargin;
        region.high[axis] = larger(high.at(packet, begin), high.at(packet, end)) + kBoxMargin;
    };
    span(box.axis_u, walk.extents.u_low, walk.extents.u_high);
    span(box.axis_v, walk.extents.v_low, walk.extents.v_high);
    return region;
}

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

// What a tile's rays have collected goes to the outputs.

void write(const Walk& walk, const Packet& packet, Lanes values, float* image) {
    alignas(64) float value[N];
    if (packet.in_line) return values.store_anywhere(image + packet.row[0] * walk.job.columns + packet.column[0]);
    values.store(value);
    for (int i = 0; i < N; ++i)
        if (packet.column[i] >= 0) image[packet.row[i] * walk.job.columns + packet.column[i]] = value[i];
}

void write_line_integrals(const Walk& walk) {
    if (!walk.job.outputs.line_integral) return;
    for (int index = 0; index < walk.count; ++index) {
        const Packet& packet = walk.packets[index];
        write(walk, packet, Lanes::load(packet.sum) * Lanes::load(packet.mm_per_slab), walk.job.outputs.line_integral);
    }
}

void write_depth(const Walk& walk, const Packet& packet, const float* numbers, unsigned met, const Outputs& outputs) {
    const Plan& plan = walk.job.plan;
    const int x = walk.axis_x;
    alignas(64) float from_start[N], from_end[N];
    Lanes::load(numbers + Quantity::from_start * N).store(from_start);
    Lanes::load(numbers + Quantity::from_end * N).store(from_end);
    for (int i = 0; i < N; ++i) {
        if (!(met >> i & 1)) continue;
        const double row = packet.row[i], column = packet.column[i];
        const double pixel = plan.first_pixel[x] + row * plan.row_step[x] + column * plan.column_step[x];
        const double origin = plan.parallel ? pixel : plan.source[x];
        const double mm = packet.mm_per_slab[i];
        const double high = (static_cast<double>(from_start[i]) - origin) * mm;
        const double low = (static_cast<double>(walk.size_x) - static_cast<double>(from_end[i]) - origin) * mm;
        const bool forwards = plan.parallel ? plan.source[x] < 0.0 : pixel > plan.source[x];
        const std::int64_t at = packet.row[i] * walk.job.columns + packet.column[i];
        if (outputs.entry_depth) outputs.entry_depth[at] = static_cast<float>(forwards ? low : -high);
        if (outputs.exit_depth) outputs.exit_depth[at] = static_cast<float>(forwards ? high : -low);
    }
}

// Of the bits of 16 or 8 lanes, the lowest goes to the highest bit of the first byte.
std::uint8_t turned(unsigned bits) {
    bits = (bits & 0xf0) >> 4 | (bits & 0x0f) << 4;
    bits = (bits & 0xcc) >> 2 | (bits & 0x33) << 2;
    return static_cast<std::uint8_t>((bits & 0xaa) >> 1 | (bits & 0x55) << 1);
}

void write_mask(const Walk& walk, const Packet& packet, unsigned met, std::uint8_t* mask) {
    const std::int64_t packed = (walk.job.columns + 7) / 8;
    if (packet.in_line && packet.column[0] % 8 == 0) {
        std::uint8_t* const bytes = mask + packet.row[0] * packed + packet.column[0] / 8;
        for (int i = 0; i < N / 8; ++i) bytes[i] = turned(met >> 8 * i & 0xff);
        return;
    }
    for (int i = 0; i < N; ++i) {
        if (!(met >> i & 1)) continue;
        // Lines of a sheared tile leave bytes that two threads share.
        __atomic_fetch_or(mask + packet.row[i] * packed + packet.column[i] / 8,
                          static_cast<std::uint8_t>(0x80u >> packet.column[i] % 8), __ATOMIC_RELAXED);
    }
}

void raise(std::int32_t& number, std::int32_t to) {
    std::int32_t was = __atomic_load_n(&number, __ATOMIC_RELAXED);
    while (was < to && !__atomic_compare_exchange_n(&number, &was, to, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

void write_structures(const Walk& walk, Collection& collection, std::int32_t* slots) {
    const Job& job = walk.job;
    const Structures& structures = job.structures;
    for (std::int64_t structure = 0; structure < structures.count; ++structure) {
        int count = 0;
        for (std::int64_t i = structures.first_value[structure]; i < structures.first_value[structure + 1]; ++i)
            if (const int slot = collection.slot_of(1 + structures.value_indices[i])) slots[count++] = slot;
        if (count == 0) continue;
        const auto of_structure = [&](auto* output, std::int64_t stride) {
            return output ? output + structure * stride : nullptr;
        };
        const Outputs& all = job.outputs;
        Outputs outputs{};
        outputs.path_length = of_structure(all.path_length, job.image_stride);
        outputs.label_line_integral = of_structure(all.label_line_integral, job.image_stride);
        outputs.entry_depth = of_structure(all.entry_depth, job.image_stride);
        outputs.exit_depth = of_structure(all.exit_depth, job.image_stride);
        outputs.mask = of_structure(all.mask, job.mask_stride);
        outputs.box = of_structure(all.box, job.box_stride);
        const bool with_depth = outputs.entry_depth || outputs.exit_depth;
        const Lanes least(structures.min_path_mm[structure]);
        std::int32_t low_row = INT32_MAX, high_row = -1, low_column = INT32_MAX, high_column = -1;
        collection.for_each_touched(slots, count, [&](int index) {
            const Packet& packet = walk.packets[index];
            alignas(64) float sums[4 * N];
            const float* numbers = collection.in_slot(slots[0], index);
            if (count > 1) {
                __builtin_memset(sums, 0, sizeof(sums));
                numbers = sums;
            }
            for (int i = 0; i < count && count > 1; ++i) {
                const float* const more = collection.in_slot(slots[i], index);
                add(sums, Quantity::path, Lanes::load(more + Quantity::path * N));
                if (outputs.label_line_integral)
                    add(sums, Quantity::integral, Lanes::load(more + Quantity::integral * N));
                if (!with_depth) continue;
                raise(sums, Quantity::from_start, Lanes::load(more + Quantity::from_start * N));
                raise(sums, Quantity::from_end, Lanes::load(more + Quantity::from_end * N));
            }
            const Lanes slabs = Lanes::load(numbers), mm = Lanes::load(packet.mm_per_slab);
            if (outputs.path_length) write(walk, packet, slabs * mm, outputs.path_length);
            if (outputs.label_line_integral)
                write(walk, packet, Lanes::load(numbers + Quantity::integral * N) * mm, outputs.label_line_integral);
            if (with_depth) write_depth(walk, packet, numbers, bits(positive(slabs * mm)), outputs);
            // Lanes without a pixel have no millimetres.
            if (outputs.mask) write_mask(walk, packet, bits(less(least, slabs * mm)), outputs.mask);
            for (unsigned rest = outputs.box ? bits(positive(slabs * mm)) : 0; rest; rest &= rest - 1) {
                const int i = __builtin_ctz(rest);
                low_row = packet.row[i] < low_row ? packet.row[i] : low_row;
                high_row = packet.row[i] > high_row ? packet.row[i] : high_row;
                low_column = packet.column[i] < low_column ? packet.column[i] : low_column;
                high_column = packet.column[i] > high_column ? packet.column[i] : high_column;
            }
        });
        if (outputs.box && high_row >= 0) {
            raise(outputs.box[0], static_cast<std::int32_t>(job.rows) - low_row);
            raise(outputs.box[1], high_row + 1);
            raise(outputs.box[2], static_cast<std::int32_t>(job.columns) - low_column);
            raise(outputs.box[3], high_column + 1);
        }
    }
}

void write_background(const Walk& walk, const Collection& collection) {
    // What packets have in the labels is taken from their sums, which the image has by now.
    collection.for_each_slot([&](std::int32_t slot) {
        collection.for_each_touched(&slot, 1, [&](int index) {
            float* const sum = walk.packets[index].sum;
            (Lanes::load(sum) - Lanes::load(collection.in_slot(slot, index) + Quantity::integral * N)).store(sum);
        });
    });
    for (int index = 0; index < walk.count; ++index) {
        const Packet& packet = walk.packets[index];
        write(walk, packet, Lanes::load(packet.sum) * Lanes::load(packet.mm_per_slab),
              walk.job.outputs.background_line_integral);
    }
}

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
    // to run, and the last bits of the result must not change with them; large ones are mapped whole, always alike.
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
    // The directions with one steepest axis and sign form a convex cone: a tile whose corners agree on another axis has
    // no ray to walk. Corners reach half a pixel further, where the rounding of sheared lines may go.
    int first = -1;
    bool mixed = false;
    for (int corner = 0; corner < 8; ++corner) {
        const double line = static_cast<double>(tile.line + (corner & 1 ? tile.lines - 1 : 0));
        const double lane = static_cast<double>(tile.lane + (corner & 2 ? tile.lanes - 1 : 0));
        const double across = line + job.plan.shear * lane + (corner & 4 ? 0.5 : -0.5);
        double p[3], d[3];
        direction_of(job.plan, job.plan.lanes_are_rows ? lane : across, job.plan.lanes_are_rows ? across : lane, p, d);
        const int axis = steepest_axis(d), signed_axis = 2 * axis + (d[axis] < 0.0);
        mixed = mixed || (first >= 0 && signed_axis != first);
        // Where two axes are as steep but for rounding, rays between the corners may round the other way.
        for (int other = 0; other < 3; ++other)
            mixed = mixed || (other != axis && __builtin_fabs(d[other]) >= (1 - 1e-9) * __builtin_fabs(d[axis]));
        first = signed_axis;
    }
    if (mixed || first / 2 == job.plan.axis_x) trace(job, tile, scratch);
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
