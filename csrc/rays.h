// The rays of a tile: packets of neighbouring ones, and what bounds each packet.
#pragma once

#include <cstdint>

#include "collection.h"
#include "job.h"
#include "lanes.h"
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
        exists[i] = (steepest & inside) ? 1.0 : 0.0;
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

// Of four lines that share u, the first gets that of the lanes which have a pixel in another line alone: where lines
// are sheared, each ends at another lane.
void take_missing_lanes(Packet* four) {
    for (int i = 0; i < N; ++i) {
        int line = 0;
        while (line < kFour - 1 && four[line].column[i] < 0) ++line;
        four->u[i] = four[line].u[i];
        four->du[i] = four[line].du[i];
        four->motion_u[i] = four[line].motion_u[i];
        four->slope_u[i] = four[line].slope_u[i];
    }
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
        if (i % kFour == 0) take_missing_lanes(walk.packets + i);
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

}  // namespace
}  // namespace DRRPROJ_ISA
}  // namespace drrproj
