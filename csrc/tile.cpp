// The walk of one tile of rays: set up, staged block by block, walked packet by packet. Compiled once per instruction
// set, into a namespace of its own.
#include "tile.h"

#include <cstddef>

#include "brick.h"
#include "lanes.h"
#include "walk.h"

namespace drrproj {
namespace DRRPROJ_ISA {
namespace {

constexpr int N = Lanes::width;
// Bounds allow for rounding: a packet's rows and columns for that of the walk, a box for that of its packets' bounds.
constexpr float kPacketMargin = 1e-3f;
constexpr float kBoxMargin = 2e-3f;

// N rays of one line, all with the same steepest axis. Lanes without a pixel repeat a lane that has one.
struct alignas(64) Packet {
    double u[N], v[N], du[N], dv[N];  // u(x) = u + x * du
    double begin[N], end[N];          // where the ray exists, in x
    float mm_per_slab[N], sum[N];
    float label[N], run[N];          // 1 + channel of the label the ray is in, and how many slabs it has been in it
    std::int32_t row[N], column[N];  // column -1: no pixel
    double begin_low, begin_high, end_low, end_high;
    double extremes[4][2];  // over the lanes, of u and v at the tile's first and last plane: see extremes_at
    // Of two blocks, the one walked and the one staged, relative to the origin of each.
    struct Bounds {
        float u_low[2], u_high[2], v_low[2], v_high[2];  // the same at the block's first and last plane
        bool relevant, partial;
    } bounds[2];
};
static_assert(sizeof(Packet) <= static_cast<std::size_t>(N) * kPacketBytesPerRay, "the driver allocates this much");

// Some slabs of the volume, staged, with everything relative to an origin near the tile: floats stay exact there.
struct Block {
    Box box;
    int parity;                                                 // which of the packets' two bounds
    double x, u, v;                                             // first plane and origin, whole numbers
    std::int64_t corner_u[kBlockSlabs], corner_v[kBlockSlabs];  // the box's corners, relative to the origin
    const float* image;
    const float* label;
};

struct Walk {
    const Job& job;
    int axis_x, axis_u, axis_v;
    Packet* packets;
    int count;
    double begin, end;
};

struct Pixel {
    std::int64_t row, column;
    bool exists;
};

Pixel pixel_at(const Job& job, std::int64_t line, std::int64_t lane) {
    const Plan& plan = job.plan;
    const std::int64_t across =
        line + static_cast<std::int64_t>(__builtin_floor(plan.shear * static_cast<double>(lane) + 0.5));
    const std::int64_t row = plan.lanes_are_rows ? lane : across, column = plan.lanes_are_rows ? across : lane;
    return {row, column, row >= 0 && row < job.rows && column >= 0 && column < job.columns};
}

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

// Fill one packet from `lane` on; false when none of its pixels exists with this steepest axis.
bool set_up_packet(const Walk& walk, std::int64_t line, std::int64_t lane, int lanes, Packet& packet) {
    const Job& job = walk.job;
    const Plan& plan = job.plan;
    const Grid& grid = job.image ? *job.image : *job.label;
    const int x = walk.axis_x, u = walk.axis_u, v = walk.axis_v;
    int some_lane = -1;
    for (int i = 0; i < N; ++i) {
        packet.column[i] = -1;
        if (i >= lanes) continue;
        const Pixel pixel = pixel_at(job, line, lane + i);
        if (!pixel.exists) continue;
        double p[3], d[3];
        direction_of(plan, static_cast<double>(pixel.row), static_cast<double>(pixel.column), p, d);
        if (steepest_axis(d) != x || d[x] == 0.0) continue;
        packet.row[i] = static_cast<std::int32_t>(pixel.row);
        packet.column[i] = static_cast<std::int32_t>(pixel.column);
        some_lane = i;
        const double per_slab = 1.0 / d[x];
        packet.du[i] = d[u] * per_slab;
        packet.dv[i] = d[v] * per_slab;
        packet.u[i] = p[u] - p[x] * packet.du[i];
        packet.v[i] = p[v] - p[x] * packet.dv[i];
        const double size = static_cast<double>(grid.size[x]);
        double begin = 0.0, end = size;
        if (!plan.parallel) {
            begin = larger(begin, smaller(plan.source[x], p[x]));
            end = smaller(end, larger(plan.source[x], p[x]));
        }
        // A ray that ends before the volume or begins behind it is empty, and stays inside what may be read.
        begin = smaller(begin, size);
        packet.begin[i] = begin;
        packet.end[i] = larger(begin, end);
        const double* m = plan.metric;
        const double squared = m[0] * d[0] * d[0] + m[1] * d[1] * d[1] + m[2] * d[2] * d[2] + m[3] * d[0] * d[1] +
                               m[4] * d[0] * d[2] + m[5] * d[1] * d[2];
        packet.mm_per_slab[i] = static_cast<float>(__builtin_sqrt(squared) * __builtin_fabs(per_slab));
    }
    if (some_lane < 0) return false;
    for (int i = 0; i < N; ++i) {
        packet.sum[i] = packet.label[i] = packet.run[i] = 0.0f;
        if (packet.column[i] >= 0) continue;
        packet.u[i] = packet.u[some_lane];
        packet.v[i] = packet.v[some_lane];
        packet.du[i] = packet.du[some_lane];
        packet.dv[i] = packet.dv[some_lane];
        packet.begin[i] = packet.begin[some_lane];
        packet.end[i] = packet.end[some_lane];
        packet.mm_per_slab[i] = 0.0f;
    }
    return true;
}

// Lowest and highest u, lowest and highest v over the lanes at plane x.
void extremes_at(const Packet& packet, double x, int side, double into[4][2]) {
    double low_u = 1e300, high_u = -1e300, low_v = 1e300, high_v = -1e300;
    for (int i = 0; i < N; ++i) {
        const double u = packet.u[i] + x * packet.du[i], v = packet.v[i] + x * packet.dv[i];
        low_u = smaller(low_u, u);
        high_u = larger(high_u, u);
        low_v = smaller(low_v, v);
        high_v = larger(high_v, v);
    }
    into[0][side] = low_u;
    into[1][side] = high_u;
    into[2][side] = low_v;
    into[3][side] = high_v;
}

void set_up(Walk& walk, const Tile& tile) {
    walk.count = 0;
    walk.begin = 1e300;
    walk.end = -1e300;
    for (int line = 0; line < tile.lines; ++line) {
        for (int lane = 0; lane < tile.lanes; lane += N) {
            Packet& packet = walk.packets[walk.count];
            if (!set_up_packet(walk, tile.line + line, tile.lane + lane, tile.lanes - lane, packet)) continue;
            ++walk.count;
            packet.begin_low = packet.end_low = 1e300;
            packet.begin_high = packet.end_high = -1e300;
            for (int i = 0; i < N; ++i) {
                packet.begin_low = smaller(packet.begin_low, packet.begin[i]);
                packet.begin_high = larger(packet.begin_high, packet.begin[i]);
                packet.end_low = smaller(packet.end_low, packet.end[i]);
                packet.end_high = larger(packet.end_high, packet.end[i]);
            }
            walk.begin = smaller(walk.begin, packet.begin_low);
            walk.end = larger(walk.end, packet.end_high);
        }
    }
    if (walk.count == 0 || !(walk.begin < walk.end)) {
        walk.count = 0;
        return;
    }
    // Whole planes, so that no block reaches beyond the two whose extremes bound what lies between.
    walk.begin = __builtin_floor(walk.begin);
    walk.end = __builtin_ceil(walk.end);
    for (int index = 0; index < walk.count; ++index) {
        extremes_at(walk.packets[index], walk.begin, 0, walk.packets[index].extremes);
        extremes_at(walk.packets[index], walk.end, 1, walk.packets[index].extremes);
    }
}

struct Extent {
    float low = 1e30f, high = -1e30f;
    void include(float from, float to) {
        low = smaller(low, from);
        high = larger(high, to);
    }
};

std::int64_t floor_of(float value) { return static_cast<std::int64_t>(__builtin_floorf(value)); }

// Choose the box of `slabs` slabs from plane x on; false when no ray of the tile meets the volume there.
bool choose_box(Walk& walk, const Grid& grid, std::int64_t x, int slabs, Block& block) {
    const double begin = static_cast<double>(x), end = static_cast<double>(x + slabs);
    block.x = begin;
    block.u = __builtin_floor(walk.packets[0].u[0] + begin * walk.packets[0].du[0]);
    block.v = __builtin_floor(walk.packets[0].v[0] + begin * walk.packets[0].dv[0]);
    // The volume's faces, seen from the origin.
    const float u_first = static_cast<float>(-block.u), v_first = static_cast<float>(-block.v);
    const float u_last = u_first + static_cast<float>(grid.size[walk.axis_u]);
    const float v_last = v_first + static_cast<float>(grid.size[walk.axis_v]);
    Extent u[2], v[2];
    bool any = false;
    const double per_plane = 1.0 / (walk.end - walk.begin);
    for (int index = 0; index < walk.count; ++index) {
        Packet& packet = walk.packets[index];
        Packet::Bounds& bounds = packet.bounds[block.parity];
        bounds.partial = packet.begin_high > begin || packet.end_low < end;
        bounds.relevant = packet.begin_low < end && packet.end_high > begin;
        if (!bounds.relevant) continue;
        // The lowest of many straight lines lies above the straight line between its values at the two ends (and on it
        // for the rays of one source), so the ends of the tile bound every plane between.
        const auto bound = [&](int which, double origin, float into[2]) {
            const double* ends = packet.extremes[which];
            const double motion = (ends[1] - ends[0]) * per_plane;
            into[0] = static_cast<float>(ends[0] + (begin - walk.begin) * motion - origin);
            into[1] = static_cast<float>(ends[0] + (end - walk.begin) * motion - origin);
        };
        bound(0, block.u, bounds.u_low);
        bound(1, block.u, bounds.u_high);
        bound(2, block.v, bounds.v_low);
        bound(3, block.v, bounds.v_high);
        bounds.relevant = larger(bounds.u_high[0], bounds.u_high[1]) >= u_first &&
                          smaller(bounds.u_low[0], bounds.u_low[1]) <= u_last &&
                          larger(bounds.v_high[0], bounds.v_high[1]) >= v_first &&
                          smaller(bounds.v_low[0], bounds.v_low[1]) <= v_last;
        if (!bounds.relevant) continue;
        any = true;
        for (int side = 0; side < 2; ++side) {
            u[side].include(bounds.u_low[side], bounds.u_high[side]);
            v[side].include(bounds.v_low[side], bounds.v_high[side]);
        }
    }
    if (!any) return false;

    Box& box = block.box;
    box.axis_x = walk.axis_x;
    box.axis_u = walk.axis_u;
    box.axis_v = walk.axis_v;
    box.x = x;
    box.slabs = slabs;
    box.upright = walk.job.plan.upright;
    std::int64_t width = 0, rows = 0;
    for (int s = 0; s < slabs; ++s) {
        const int run = box.upright ? kRunSlabs : 1, first = s / run * run;
        const float from = static_cast<float>(first) / static_cast<float>(slabs);
        const float to = static_cast<float>(smaller(first + run, slabs)) / static_cast<float>(slabs);
        const auto low = [&](const Extent ends[2]) {
            const float change = ends[1].low - ends[0].low;
            return floor_of(ends[0].low + smaller(from * change, to * change) - kBoxMargin);
        };
        const auto high = [&](const Extent ends[2]) {
            const float change = ends[1].high - ends[0].high;
            return floor_of(ends[0].high + larger(from * change, to * change) + kBoxMargin);
        };
        block.corner_u[s] = low(u);
        block.corner_v[s] = low(v);
        box.u[s] = block.corner_u[s] + static_cast<std::int64_t>(block.u);
        box.v[s] = block.corner_v[s] + static_cast<std::int64_t>(block.v);
        width = larger(width, high(u) - block.corner_u[s] + 1);
        rows = larger(rows, high(v) - block.corner_v[s] + 1);
    }
    if (width * rows * slabs > kBrickFloats) {
        box.slabs = 0;
        return true;
    }
    box.width = static_cast<int>(width);
    box.rows = static_cast<int>(rows);
    return true;
}

// The label a ray was in ends: its run becomes path length and mask.
void end_run(const Job& job, Packet& packet, int lane) {
    const int channel = static_cast<int>(packet.label[lane]) - 1;
    if (channel < 0 || !(packet.run[lane] > 0.0f) || packet.column[lane] < 0) return;
    const std::int64_t row = packet.row[lane], column = packet.column[lane];
    if (job.path_length)
        job.path_length[channel * job.path_length_stride + row * job.columns + column] +=
            packet.run[lane] * packet.mm_per_slab[lane];
    if (job.mask) {
        std::uint8_t* byte = job.mask + channel * job.mask_stride + row * ((job.columns + 7) / 8) + column / 8;
        // Lines of a sheared tile leave bytes that two threads share.
        __atomic_fetch_or(byte, static_cast<std::uint8_t>(0x80u >> (column % 8)), __ATOMIC_RELAXED);
    }
}

// The values at the four voxels a slab can touch: of entry, across u, across v, across both.
struct Corners {
    Lanes stay, across_u, across_v, across_both;
};

// Lanes whose rays met another label than the one they were in: rare enough to do one by one.
void change_labels(const Job& job, Packet& packet, unsigned changed, const Corners& labels,
                   const Shares<Lanes>& shares) {
    alignas(64) float label[4][N], share[4][N];
    labels.stay.store(label[0]);
    labels.across_u.store(label[1]);
    labels.across_v.store(label[2]);
    labels.across_both.store(label[3]);
    shares.stay.store(share[0]);
    shares.across_u.store(share[1]);
    shares.across_v.store(share[2]);
    shares.across_both.store(share[3]);
    while (changed) {
        const int lane = __builtin_ctz(changed);
        changed &= changed - 1;
        for (int corner = 0; corner < 4; ++corner) {
            if (!(share[corner][lane] > 0.0f)) continue;
            if (label[corner][lane] != packet.label[lane]) {
                end_run(job, packet, lane);
                packet.label[lane] = label[corner][lane];
                packet.run[lane] = 0.0f;
            }
            packet.run[lane] += share[corner][lane];
        }
    }
}

// A packet whose lanes meet more rows than this reads faster by gathers.
constexpr int kWindowRows = 6;

// Reads a packet's corners from a plane of one slab whose element 0 is the voxel (u, v) = (0, 0): by windows when all
// lanes of a row lie within one, else by gathers.
struct Reader {
    int width;  // of a row
    int row_low, row_high, column_low;
    Lanes u, v;            // voxel of entry
    Lanes step_u, step_v;  // to the voxel beyond a crossing
    bool windowed;

    Corners read(const float* plane, const Shares<Lanes>& shares) const {
        Corners corners;
        const Lanes u_next = u + step_u, v_next = v + step_v;
        if (windowed) {
            const Lanes column(static_cast<float>(column_low));
            const Index at = to_index(u - column), at_next = to_index(u_next - column);
            const float* row = plane + static_cast<std::ptrdiff_t>(row_low) * width + column_low;
            corners.stay = corners.across_v = window(row, at);
            corners.across_u = corners.across_both = window(row, at_next);
            for (int r = row_low + 1; r <= row_high; ++r) {
                row += width;
                const Lanes here = window(row, at), next = window(row, at_next);
                const Lanes r_lanes(static_cast<float>(r));
                const Mask enters = equal(v, r_lanes), leaves = equal(v_next, r_lanes);
                corners.stay = choose(enters, here, corners.stay);
                corners.across_u = choose(enters, next, corners.across_u);
                corners.across_v = choose(leaves, here, corners.across_v);
                corners.across_both = choose(leaves, next, corners.across_both);
            }
            return corners;
        }
        const Lanes row_width(static_cast<float>(width));
        const Lanes stay = multiply_add(v, row_width, u);
        // A corner without a share may lie outside the brick: read the voxel of entry instead.
        const auto corner = [&](Lanes share, Lanes to_u, Lanes to_v) {
            return gather(plane, to_index(choose(positive(share), multiply_add(to_v, row_width, to_u), stay)));
        };
        corners.stay = gather(plane, to_index(stay));
        corners.across_u = corner(shares.across_u, u_next, v);
        corners.across_v = corner(shares.across_v, u, v_next);
        corners.across_both = corner(shares.across_both, u_next, v_next);
        return corners;
    }
};

template <bool Partial, bool Image, bool Label>
__attribute__((noinline)) void walk_packet(const Job& job, const Block& block, Packet& packet) {
    const Box& box = block.box;
    const Packet::Bounds& bounds = packet.bounds[block.parity];
    const int slabs = box.slabs;
    // Positions are kept as the voxel at the block's first plane and the way from its corner: small numbers, which
    // float32 holds to a millionth of a voxel.
    alignas(64) float positions[6][N], crossings[6][N], limits[2][N];
    for (int i = 0; i < N; ++i) {
        const double u = packet.u[i] + block.x * packet.du[i] - block.u;
        const double v = packet.v[i] + block.x * packet.dv[i] - block.v;
        positions[4][i] = static_cast<float>(__builtin_floor(u));
        positions[5][i] = static_cast<float>(__builtin_floor(v));
        positions[0][i] = static_cast<float>(u - __builtin_floor(u));
        positions[1][i] = static_cast<float>(v - __builtin_floor(v));
        positions[2][i] = static_cast<float>(packet.du[i]);
        positions[3][i] = static_cast<float>(packet.dv[i]);
        limits[0][i] = static_cast<float>(packet.begin[i] - block.x);
        limits[1][i] = static_cast<float>(packet.end[i] - block.x);
    }
    for (int i = 0; i < N; ++i) {
        const Crossing<float> u = crossing_of(positions[2][i]), v = crossing_of(positions[3][i]);
        crossings[0][i] = u.slope;
        crossings[1][i] = u.offset;
        crossings[2][i] = u.step;
        crossings[3][i] = v.slope;
        crossings[4][i] = v.offset;
        crossings[5][i] = v.step;
    }
    const Lanes u_begin = Lanes::load(positions[0]), v_begin = Lanes::load(positions[1]);
    const Lanes du = Lanes::load(positions[2]), dv = Lanes::load(positions[3]);
    const Lanes first_u = Lanes::load(positions[4]), first_v = Lanes::load(positions[5]);
    const Crossing<Lanes> cross_u{Lanes::load(crossings[0]), Lanes::load(crossings[1]), Lanes::load(crossings[2])};
    const Index step_u = to_index(cross_u.step);
    const Crossing<Lanes> cross_v{Lanes::load(crossings[3]), Lanes::load(crossings[4]), Lanes::load(crossings[5])};

    // The rows and columns that the packet touches in each slab.
    std::int32_t row_low[kBlockSlabs], row_high[kBlockSlabs], column_low[kBlockSlabs], column_high[kBlockSlabs];
    const float share = 1.0f / static_cast<float>(slabs);
    const auto range = [&](const float low[2], const float high[2], std::int32_t* lowest, std::int32_t* highest) {
        const float low_change = (low[1] - low[0]) * share, high_change = (high[1] - high[0]) * share;
        const float from = low[0] + smaller(0.0f, low_change) - kPacketMargin;
        const float to = high[0] + larger(0.0f, high_change) + kPacketMargin;
        for (int s = 0; s < kBlockSlabs; ++s) {
            lowest[s] = static_cast<std::int32_t>(__builtin_floorf(from + static_cast<float>(s) * low_change));
            highest[s] = static_cast<std::int32_t>(__builtin_floorf(to + static_cast<float>(s) * high_change));
        }
    };
    range(bounds.u_low, bounds.u_high, column_low, column_high);
    range(bounds.v_low, bounds.v_high, row_low, row_high);

    const Lanes zero(0.0f), one(1.0f);
    Lanes sum(0.0f), step(0.0f);
    Lanes label, run;
    if (Label) {
        label = Lanes::load(packet.label);
        run = Lanes::load(packet.run);
    }
    std::ptrdiff_t slab_begin = 0;
    for (int s = 0; s < slabs; ++s, slab_begin += box.slab_size(), step = step + one) {
        const std::ptrdiff_t origin = slab_begin - block.corner_v[s] * box.width - block.corner_u[s];
        const Lanes u = multiply_add(step, du, u_begin), moved_u = floor(u);
        const Lanes at_u = crossing_share(u - moved_u, cross_u);
        const bool windowed = column_high[s] - column_low[s] < 2 * N && row_high[s] - row_low[s] < kWindowRows;
        Lanes begin = zero, end = one;
        if (Partial) {
            begin = smaller(larger(Lanes::load(limits[0]) - step, zero), one);
            end = smaller(larger(Lanes::load(limits[1]) - step, zero), one);
        }
        Shares<Lanes> shares;
        Corners labels;
        if (windowed && row_low[s] == row_high[s]) {
            // Every lane stays in one row, as most do: only crossings in u matter.
            const Lanes leaves = Partial ? smaller(larger(at_u, begin), end) : at_u;
            shares = {leaves - begin, end - leaves, zero, zero};
            const Index at = to_index(moved_u + (first_u - Lanes(static_cast<float>(column_low[s]))));
            const Index at_next = at + step_u;
            const std::ptrdiff_t row = origin + static_cast<std::ptrdiff_t>(row_low[s]) * box.width + column_low[s];
            if (Image) {
                sum = multiply_add(shares.stay, window(block.image + row, at), sum);
                sum = multiply_add(shares.across_u, window(block.image + row, at_next), sum);
            }
            if (Label) {
                labels.stay = labels.across_v = window(block.label + row, at);
                labels.across_u = labels.across_both = window(block.label + row, at_next);
            }
        } else {
            const Lanes v = multiply_add(step, dv, v_begin), moved_v = floor(v);
            const Lanes at_v = crossing_share(v - moved_v, cross_v);
            shares = Partial ? slab_shares(at_u, at_v, begin, end) : slab_shares(at_u, at_v);
            const Reader reader{box.width,         row_low[s],   row_high[s],  column_low[s], first_u + moved_u,
                                first_v + moved_v, cross_u.step, cross_v.step, windowed};
            if (Image) {
                const Corners mu = reader.read(block.image + origin, shares);
                sum = multiply_add(shares.stay, mu.stay, sum);
                sum = multiply_add(shares.across_u, mu.across_u, sum);
                sum = multiply_add(shares.across_v, mu.across_v, sum);
                sum = multiply_add(shares.across_both, mu.across_both, sum);
            }
            if (Label) labels = reader.read(block.label + origin, shares);
        }
        if (Label) {
            const auto same = [&](Lanes other, Lanes part) { return equal(other, label) | ~positive(part); };
            const Mask unchanged = same(labels.stay, shares.stay) & same(labels.across_u, shares.across_u) &
                                   same(labels.across_v, shares.across_v) &
                                   same(labels.across_both, shares.across_both);
            run = choose(unchanged, run + (end - begin), run);
            const unsigned changed = ~bits(unchanged) & all_lanes;
            if (changed) {
                run.store(packet.run);
                label.store(packet.label);
                change_labels(job, packet, changed, labels, shares);
                run = Lanes::load(packet.run);
                label = Lanes::load(packet.label);
            }
        }
    }
    if (Image) (Lanes::load(packet.sum) + sum).store(packet.sum);
    if (Label) {
        label.store(packet.label);
        run.store(packet.run);
    }
}

template <bool Image, bool Label>
void walk_packets(const Walk& walk, const Block& block, Staging& next) {
    for (int index = 0; index < walk.count; ++index) {
        Packet& packet = walk.packets[index];
        const Packet::Bounds& bounds = packet.bounds[block.parity];
        next.step();
        if (!bounds.relevant) continue;
        if (bounds.partial)
            walk_packet<true, Image, Label>(walk.job, block, packet);
        else
            walk_packet<false, Image, Label>(walk.job, block, packet);
    }
}

// Does one slab under the whole tile fit the brick, wherever the slab is?
bool fits(const Walk& walk) {
    double area = 0.0;
    for (int side = 0; side < 2; ++side) {
        double low[2] = {1e300, 1e300}, high[2] = {-1e300, -1e300};
        for (int index = 0; index < walk.count; ++index) {
            for (int axis = 0; axis < 2; ++axis) {
                low[axis] = smaller(low[axis], walk.packets[index].extremes[2 * axis][side]);
                high[axis] = larger(high[axis], walk.packets[index].extremes[2 * axis + 1][side]);
            }
        }
        // One voxel at each end for rounding, and two for what a slab moves the rays sideways.
        area = larger(area, (high[0] - low[0] + 4.0) * (high[1] - low[1] + 4.0));
    }
    return area <= kBrickFloats;
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

// Walk those rays of the tile that have the plan's steepest axis.
void trace(const Job& job, const Tile& tile, const Scratch& scratch) {
    const Grid& grid = job.image ? *job.image : *job.label;
    const Plan& plan = job.plan;
    Walk walk{job, plan.axis_x, plan.axis_u, plan.axis_v, static_cast<Packet*>(scratch.packets), 0, 0.0, 0.0};
    set_up(walk, tile);
    if (walk.count == 0) return;
    if (tile.lines * tile.lanes > 1 && !fits(walk)) return trace_halves(job, tile, scratch);

    const std::int64_t last = static_cast<std::int64_t>(walk.end);
    std::int64_t x = static_cast<std::int64_t>(walk.begin);
    const int most_slabs = plan.upright ? kBlockSlabs : 16;
    // Blocks begin where lines of memory begin.
    const std::int64_t phase =
        plan.upright ? static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(grid.voxels) /
                                                 static_cast<std::uintptr_t>(grid.stride[plan.axis_x]))
                     : 0;
    const auto slabs_at = [&](std::int64_t plane) {
        return plan.upright ? most_slabs - static_cast<int>((plane + phase) % most_slabs) : most_slabs;
    };
    int slabs = slabs_at(x);
    // Choose the next block that meets a ray, from plane x on; false when there is none.
    const auto next_block = [&](Block& block) {
        while (x < last) {
            if (slabs > last - x) slabs = static_cast<int>(last - x);
            const bool meets = choose_box(walk, grid, x, slabs, block);
            if (meets && block.box.slabs == 0) {
                slabs = (slabs + 1) / 2;
                continue;
            }
            x += slabs;
            slabs = slabs_at(x);
            if (meets) return true;
        }
        return false;
    };
    Block blocks[2];
    Staging staging[2];
    for (int parity = 0; parity < 2; ++parity) {
        blocks[parity].parity = parity;
        blocks[parity].image = scratch.image[parity];
        blocks[parity].label = scratch.label[parity];
    }
    const auto begin_staging = [&](int parity) {
        const bool more = next_block(blocks[parity]);
        staging[parity] =
            more ? Staging(job, blocks[parity].box, scratch.image[parity], scratch.label[parity], walk.count)
                 : Staging();
        return more;
    };
    int now = 0;
    bool more = begin_staging(now);
    while (more) {
        staging[now].finish();
        more = begin_staging(1 - now);
        const bool image = staging[now].image_seen, label = staging[now].label_seen;
        if (image && label)
            walk_packets<true, true>(walk, blocks[now], staging[1 - now]);
        else if (image)
            walk_packets<true, false>(walk, blocks[now], staging[1 - now]);
        else if (label)
            walk_packets<false, true>(walk, blocks[now], staging[1 - now]);
        now = 1 - now;
    }

    for (int index = 0; index < walk.count; ++index) {
        Packet& packet = walk.packets[index];
        for (int i = 0; i < N; ++i) {
            if (packet.column[i] < 0) continue;
            if (job.line_integral)
                job.line_integral[packet.row[i] * job.columns + packet.column[i]] =
                    packet.sum[i] * packet.mm_per_slab[i];
            if (job.label) end_run(job, packet, i);
        }
    }
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

}  // namespace DRRPROJ_ISA
}  // namespace drrproj
