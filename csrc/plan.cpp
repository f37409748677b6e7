#include "plan.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "index_space.h"
#include "steepest.h"

namespace drrproj {

using namespace DRRPROJ_ISA;

namespace {

struct Position {
    double u, v;
};

// Where the ray of a pixel crosses the volume's middle plane.
Position middle_crossing(const Plan& plan, const Grid& grid, double row, double column) {
    const int x = plan.axis_x, u = plan.axis_u, v = plan.axis_v;
    double point[3], direction[3];
    ray_of(plan, row, column, point, direction);
    const double share = (0.5 * static_cast<double>(grid.size[x]) - point[x]) / direction[x];
    return {point[u] + share * direction[u], point[v] + share * direction[v]};
}

// Follow the detector in the direction that keeps a packet in one row of voxels: solve for the mix of row and column
// steps that does not move across v, near this pixel.
void order_pixels(Plan& plan, const Grid& grid, std::int64_t rows, std::int64_t columns, double row, double column) {
    const double row_moves =
        middle_crossing(plan, grid, row + 0.5, column).v - middle_crossing(plan, grid, row - 0.5, column).v;
    const double column_moves =
        middle_crossing(plan, grid, row, column + 0.5).v - middle_crossing(plan, grid, row, column - 0.5).v;
    plan.lanes_are_rows = std::fabs(column_moves) > std::fabs(row_moves);
    const double shear = plan.lanes_are_rows ? -row_moves / column_moves : -column_moves / row_moves;
    plan.shear = std::isfinite(shear) ? shear : 0.0;
    plan.lanes = plan.lanes_are_rows ? rows : columns;
    const std::int64_t across = plan.lanes_are_rows ? columns : rows;
    const auto last_shift =
        static_cast<std::int64_t>(std::floor(plan.shear * static_cast<double>(plan.lanes - 1) + 0.5));
    plan.first_line = std::min<std::int64_t>(0, -last_shift);
    plan.lines = across + std::abs(last_shift);
}

// How far rays move along u for each voxel along v, from one line to the next near this pixel; none where v hardly
// moves.
double drift_of(const Plan& plan, const Grid& grid, double row, double column) {
    const Position from = middle_crossing(plan, grid, row, column);
    const Position to = middle_crossing(plan, grid, row + (plan.lanes_are_rows ? 0.0 : 1.0),
                                        column + (plan.lanes_are_rows ? 1.0 : 0.0));
    const double drift = (to.u - from.u) / (to.v - from.v);
    return std::fabs(drift) <= 8.0 ? drift : 0.0;
}

// Voxels staged for a slab under a tile of this shape around a pixel, per ray.
double voxels_per_ray(const Plan& plan, const Grid& grid, double row, double column, double lines, double lanes) {
    Position low{1e300, 1e300}, high{-1e300, -1e300};
    for (int corner = 0; corner < 4; ++corner) {
        const double lane = (corner & 1 ? 0.5 : -0.5) * lanes;
        const double across = (corner & 2 ? 0.5 : -0.5) * lines + plan.shear * lane;
        const Position at = middle_crossing(plan, grid, row + (plan.lanes_are_rows ? lane : across),
                                            column + (plan.lanes_are_rows ? across : lane));
        low = {std::min(low.u, at.u), std::min(low.v, at.v)};
        high = {std::max(high.u, at.u), std::max(high.v, at.v)};
    }
    const int x = plan.axis_x, u = plan.axis_u, v = plan.axis_v;
    double point[3], direction[3];
    ray_of(plan, row, column, point, direction);
    // An upright box holds all that slanted rays meet in a block; others follow the rays.
    const double slabs = plan.upright ? kRunSlabs : 1;
    const double slant_u = slabs * std::fabs(direction[u] / direction[x]);
    const double slant_v = slabs * std::fabs(direction[v] / direction[x]);
    return (high.u - low.u + slant_u + 1.0) * (high.v - low.v + slant_v + 1.0) / (lines * lanes);
}

struct Shape {
    int lines, lanes;
    double cost_per_voxel, cost_upright;
};

// Wide tiles read whole rows of voxels, which memory gives faster than parts of rows; compact ones stage fewer voxels
// where lines and rows part or slant, and keep the many short runs of an upright box from evicting each other. Costs
// are relative, measured on 512 x 512 x 400.
constexpr Shape kShapes[] = {{4, 512, 1.0, 1.5},   {16, 256, 1.25, 1.2}, {16, 128, 1.3, 1.0},
                             {16, 64, 1.35, 1.05}, {32, 64, 1.4, 1.1},   {32, 32, 1.7, 1.15}};

constexpr bool shapes_fit() {
    for (const Shape& shape : kShapes)
        if (shape.lines * shape.lanes > kTileRays) return false;
    return true;
}
static_assert(shapes_fit(), "the packets of a tile have kTileRays rays at most");

// How many voxels of a slab there are for each ray, near this pixel.
double voxels_between_rays(const Plan& plan, const Grid& grid, double row, double column) {
    const Position at = middle_crossing(plan, grid, row, column);
    const Position next_row = middle_crossing(plan, grid, row + 1.0, column);
    const Position next_column = middle_crossing(plan, grid, row, column + 1.0);
    return std::fabs((next_row.u - at.u) * (next_column.v - at.v) - (next_row.v - at.v) * (next_column.u - at.u));
}

// Rays read in place where so many voxels lie between them and staging costs so much for each, by the costs of kShapes.
// Measured on 512 x 512 x 400, from views along the grid and rolled: of the bounds tried, these lose least.
constexpr double kApartBetween = 4.5, kApartCost = 12.0, kApartCostUpright = 7.0;
// Labels are staged in a quarter of the bytes, and mostly without a walk behind it.
constexpr double kLabelsApartBetween = 27.0, kLabelsApartStaged = 84.0;
constexpr double kLabelsApartBetweenUpright = 18.0, kLabelsApartStagedUpright = 56.0;

void shape_tiles(Plan& plan, const Grid& grid, std::int64_t rows, std::int64_t columns, double row, double column) {
    const double between = voxels_between_rays(plan, grid, row, column);
    double lowest = 1e300;
    plan.tile_lines = kShapes[0].lines;
    plan.tile_lanes = kShapes[0].lanes;
    for (const Shape& shape : kShapes) {
        const double lanes = static_cast<double>(std::min<std::int64_t>(shape.lanes, plan.lanes));
        // Perspective turns and stretches the view away from its middle: the worst place counts.
        double staged = 0.0;
        for (int place = 0; place < 5; ++place) {
            const double at_row = place == 0 ? row : static_cast<double>(rows - 1) * (place & 1 ? 0.1 : 0.9);
            const double at_column = place == 0 ? column : static_cast<double>(columns - 1) * (place & 2 ? 0.1 : 0.9);
            double point[3], direction[3];
            ray_of(plan, at_row, at_column, point, direction);
            if (steepest_axis(direction) != plan.axis_x) continue;
            staged = std::max(staged, voxels_per_ray(plan, grid, at_row, at_column, shape.lines, lanes));
        }
        double cost = staged * (plan.upright ? shape.cost_upright : shape.cost_per_voxel);
        // A box that does not fit the brick is staged in short blocks, at twice the cost.
        if (staged * shape.lines * lanes * (plan.upright ? kBlockSlabs : kBlockSlabs / 2) > kBrickFloats) cost *= 2.0;
        if (!(cost < lowest)) continue;
        lowest = cost;
        plan.tile_lines = shape.lines;
        plan.tile_lanes = shape.lanes;
        plan.image_in_place = between >= kApartBetween && cost >= (plan.upright ? kApartCostUpright : kApartCost);
        plan.labels_in_place = plan.upright
                                   ? between >= kLabelsApartBetweenUpright && staged >= kLabelsApartStagedUpright
                                   : between >= kLabelsApartBetween && staged >= kLabelsApartStaged;
    }
}

// Cycles to read what a packet meets in a slab, where it spans so many rows and columns of voxels.
double reading_cost(int rows, int columns, int lanes) {
    const bool patches = lanes >= kPatchLanes;
    for (const ReadingShape& shape : kPatches) {
        if (!patches && shape.rows > 1) break;
        if (rows <= shape.rows && columns <= shape.registers * lanes) return shape.cycles;
    }
    return patches ? kAnywhereCycles : kAnywhereCyclesOfFewLanes;
}

// What a span meets: one more voxel than it is long, and often one more.
template <class Cost>
double expected(double span, const Cost& cost) {
    const double whole = std::floor(std::min(span, 1e3)), rest = std::min(span, 1e3) - whole;
    const int least = static_cast<int>(whole) + 1;
    return (1.0 - rest) * cost(least) + rest * cost(least + 1);
}

// Choose how many lines a packet's rays come from: the fewer voxels they span, the less there is to read.
void shape_packets(Plan& plan, const Grid& grid, double row, double column, int lanes) {
    const auto moved = [&](double lines, double lanes_along) {
        const double across = lines + plan.shear * lanes_along;
        const Position from = middle_crossing(plan, grid, row, column);
        const Position to = middle_crossing(plan, grid, row + (plan.lanes_are_rows ? lanes_along : across),
                                            column + (plan.lanes_are_rows ? across : lanes_along));
        return Position{std::fabs(to.u - from.u), std::fabs(to.v - from.v)};
    };
    const Position lane = moved(0.0, 1.0), line = moved(1.0, 0.0);
    double point[3], direction[3];
    ray_of(plan, row, column, point, direction);
    const double slant_u = std::fabs(direction[plan.axis_u] / direction[plan.axis_x]);
    const double slant_v = std::fabs(direction[plan.axis_v] / direction[plan.axis_x]);
    // Lines of a sheared tile jump where their rounding does.
    const double jump = plan.shear != std::floor(plan.shear) ? 1.0 : 0.0;
    double lowest = 1e300;
    plan.packet_lines = 1;
    for (const int packet_lines : {1, 2, 4}) {
        const double u = (lanes / packet_lines - 1) * lane.u + (packet_lines - 1 + jump) * line.u + slant_u;
        const double v = (packet_lines - 1 + jump) * line.v + slant_v;
        const double cost = expected(
            v, [&](int rows) { return expected(u, [&](int columns) { return reading_cost(rows, columns, lanes); }); });
        if (!(cost < lowest)) continue;
        lowest = cost;
        plan.packet_lines = packet_lines;
    }
}

// The middle of those pixels whose rays have the plan's steepest axis; false when no sample does.
bool middle_pixel(const Plan& plan, std::int64_t rows, std::int64_t columns, double& row, double& column) {
    constexpr int kSamples = 16;
    double count = 0.0;
    row = column = 0.0;
    for (int i = 0; i <= kSamples; ++i) {
        for (int j = 0; j <= kSamples; ++j) {
            const double at_row = static_cast<double>(rows - 1) * i / kSamples;
            const double at_column = static_cast<double>(columns - 1) * j / kSamples;
            double point[3], direction[3];
            ray_of(plan, at_row, at_column, point, direction);
            if (steepest_axis(direction) != plan.axis_x) continue;
            row += at_row;
            column += at_column;
            count += 1.0;
        }
    }
    row /= count;
    column /= count;
    return count > 0.0;
}

}  // namespace

void choose_axes(Plan& plan, const Grid& grid, int axis_x) {
    const auto bytes = [&](int axis) { return std::abs(grid.stride[axis]); };
    plan.axis_x = axis_x;
    plan.axis_u = (axis_x + 1) % 3;
    plan.axis_v = (axis_x + 2) % 3;
    if (bytes(plan.axis_v) < bytes(plan.axis_u)) std::swap(plan.axis_u, plan.axis_v);
    plan.upright = bytes(axis_x) == size_of(grid.type);
}

int widest_stride(const Grid& grid) {
    int widest = 0;
    for (int axis = 1; axis < 3; ++axis)
        if (std::abs(grid.stride[axis]) > std::abs(grid.stride[widest])) widest = axis;
    return widest;
}

std::vector<Plan> plan_view(const Grid& grid, const double* view, std::int64_t rows, std::int64_t columns, int lanes) {
    Plan plan{};
    to_index_space(grid, view, 0, plan.source);
    to_index_space(grid, view, 1, plan.first_pixel);
    to_index_space(grid, view, 2, plan.row_step);
    to_index_space(grid, view, 3, plan.column_step);
    plan.parallel = view[12] == 0.0;
    metric_of(grid, plan.metric);

    Corners corners;
    for (int corner = 0; corner < 4; ++corner) {
        double point[3], direction[3];
        ray_of(plan, corner & 1 ? static_cast<double>(rows - 1) : 0.0,
               corner & 2 ? static_cast<double>(columns - 1) : 0.0, point, direction);
        corners.include(direction);
    }
    std::vector<Plan> plans;
    for (int axis = 0; axis < 3; ++axis) {
        if (!corners.may_have(axis)) continue;
        choose_axes(plan, grid, axis);
        double row, column;
        // Rays that no sample meets are few, a sliver at the detector's edge: any order serves them.
        if (!middle_pixel(plan, rows, columns, row, column)) row = column = 0.0;
        order_pixels(plan, grid, rows, columns, row, column);
        plan.drift = drift_of(plan, grid, row, column);
        shape_tiles(plan, grid, rows, columns, row, column);
        // Runs along x come best in pairs of lines; elsewhere short blocks leave room for the next one in the cache.
        plan.block_slabs = plan.upright ? kBlockSlabs : kBlockSlabs / 2;
        // Codes need less of it, and rows of wide tiles are few.
        plan.label_block_slabs = plan.tile_lanes >= 256 ? kBlockSlabs : plan.block_slabs;
        shape_packets(plan, grid, row, column, lanes);
        const auto moves_along = [&](const double* step, int along) {
            const double all = std::fabs(step[0]) + std::fabs(step[1]) + std::fabs(step[2]);
            return all - std::fabs(step[along]) <= 1e-12 * std::fabs(step[along]);
        };
        const double* const to_next_line = plan.lanes_are_rows ? plan.column_step : plan.row_step;
        const double* const to_next_lane = plan.lanes_are_rows ? plan.row_step : plan.column_step;
        plan.lines_share_u = plan.packet_lines == 1 && moves_along(to_next_line, plan.axis_v);
        plan.lanes_share_v = plan.lines_share_u && moves_along(to_next_lane, plan.axis_u);
        plans.push_back(plan);
    }
    return plans;
}

bool are_alike(const Plan& a, const Plan& b, const Grid& grid, std::int64_t rows, std::int64_t columns) {
    if (a.axis_x != b.axis_x || a.tile_lines != b.tile_lines || a.tile_lanes != b.tile_lanes ||
        a.lanes_are_rows != b.lanes_are_rows)
        return false;
    for (int corner = 0; corner < 4; ++corner) {
        const double row = corner & 1 ? static_cast<double>(rows - 1) : 0.0;
        const double column = corner & 2 ? static_cast<double>(columns - 1) : 0.0;
        const Position at_a = middle_crossing(a, grid, row, column), at_b = middle_crossing(b, grid, row, column);
        if (!(std::fabs(at_a.u - at_b.u) < kCellVoxels && std::fabs(at_a.v - at_b.v) < kCellVoxels)) return false;
    }
    return true;
}

}  // namespace drrproj
