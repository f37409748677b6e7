// Plans each view, cuts it into tiles, hands them to threads, and picks the instruction set.
#include "cpu.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <thread>
#include <utility>

#include "emptiness.h"
#include "tile.h"

namespace drrproj {
namespace {

struct InstructionSet {
    const char* name;
    TraceTile trace_tile;
    LookIntoImage look_into_image;
    int lanes;
    bool (*runs_here)();
};

const InstructionSet kInstructionSets[] = {
#if defined(DRRPROJ_X86)
    // Feature by feature: the compilers' names for whole levels are not known to all of them.
    {"avx512", avx512::trace_tile, avx512::look_into_image, 16,
     [] {
         return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
     }},
    {"avx2", avx2::trace_tile, avx2::look_into_image, 8,
     [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"); }},
#endif
    {"baseline", baseline::trace_tile, baseline::look_into_image, 8, [] { return true; }},
};

std::string& chosen_instruction_set() {
    static std::string chosen = [] {
        const char* wanted = std::getenv("DRRPROJ_ISA");
        return wanted && *wanted ? std::string(wanted) : instruction_sets().front();
    }();
    return chosen;
}

const InstructionSet& chosen_set() {
    for (const InstructionSet& set : kInstructionSets)
        if (chosen_instruction_set() == set.name && set.runs_here()) return set;
    std::string runnable;
    for (const std::string& name : instruction_sets()) runnable += (runnable.empty() ? "" : ", ") + name;
    throw std::invalid_argument("instruction set '" + chosen_instruction_set() +
                                "' does not run here; there are: " + runnable);
}

// voxel_from_world @ column, with voxel i covering [i, i + 1).
void to_index_space(const double* voxel_from_world, const double* view, int column, double result[3]) {
    const double weight = view[12 + column];
    for (int axis = 0; axis < 3; ++axis) {
        const double* row = voxel_from_world + 4 * axis;
        result[axis] =
            row[0] * view[column] + row[1] * view[4 + column] + row[2] * view[8 + column] + (row[3] + 0.5) * weight;
    }
}

void ray_of(const Plan& plan, double row, double column, double point[3], double direction[3]) {
    for (int axis = 0; axis < 3; ++axis) {
        point[axis] = plan.first_pixel[axis] + row * plan.row_step[axis] + column * plan.column_step[axis];
        direction[axis] = plan.parallel ? -plan.source[axis] : point[axis] - plan.source[axis];
    }
}

int steepest_axis(const double direction[3]) {
    int steepest = 0;
    for (int axis = 1; axis < 3; ++axis)
        if (std::fabs(direction[axis]) > std::fabs(direction[steepest])) steepest = axis;
    return steepest;
}

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
// Such tiles share nothing, and small ones suit any number of threads.
constexpr int kFarApartLines = 4, kFarApartLanes = 64;

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

// Cycles to read what a packet meets in a slab, where it spans so many rows and columns of voxels: in one row, in a
// patch of 4 to 12 registers, or lane by lane. Measured on Zen 4.
double reading_cost(int rows, int columns, int lanes) {
    if (rows <= 1 && columns <= 2 * lanes) return 9.0;
    if (lanes < kPatchLanes) return 40.0;
    if (rows <= 4 && columns <= lanes) return 22.0;
    if (rows <= 2 && columns <= 2 * lanes) return 28.0;
    if (rows <= 6 && columns <= lanes) return 30.0;
    if (rows <= 8 && columns <= lanes) return 34.0;
    if (rows <= 4 && columns <= 2 * lanes) return 42.0;
    if (rows <= 6 && columns <= 2 * lanes) return 52.0;
    return 75.0;
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

// One plan per steepest axis that occurs in the view.
std::vector<Plan> plan_view(const Grid& grid, const double* view, std::int64_t rows, std::int64_t columns, int lanes) {
    Plan plan{};
    to_index_space(grid.voxel_from_world, view, 0, plan.source);
    to_index_space(grid.voxel_from_world, view, 1, plan.first_pixel);
    to_index_space(grid.voxel_from_world, view, 2, plan.row_step);
    to_index_space(grid.voxel_from_world, view, 3, plan.column_step);
    plan.parallel = view[12] == 0.0;
    const auto dot = [&](int a, int b) {
        const double* m = grid.world_from_voxel;
        return m[a] * m[b] + m[4 + a] * m[4 + b] + m[8 + a] * m[8 + b];
    };
    const double metric[6] = {dot(0, 0), dot(1, 1), dot(2, 2), 2 * dot(0, 1), 2 * dot(0, 2), 2 * dot(1, 2)};
    std::copy(metric, metric + 6, plan.metric);

    // The directions with one steepest axis and sign form a convex cone: if the corners agree, so do all rays. Where
    // two axes are as steep but for rounding, rays between the corners may round the other way.
    int first = -1;
    bool mixed = false;
    for (int corner = 0; corner < 4; ++corner) {
        double point[3], direction[3];
        ray_of(plan, corner & 1 ? static_cast<double>(rows - 1) : 0.0,
               corner & 2 ? static_cast<double>(columns - 1) : 0.0, point, direction);
        const int axis = steepest_axis(direction);
        const int signed_axis = 2 * axis + (direction[axis] < 0.0);
        mixed = mixed || (first >= 0 && signed_axis != first);
        for (int other = 0; other < 3; ++other)
            mixed = mixed || (other != axis && std::fabs(direction[other]) >= (1 - 1e-9) * std::fabs(direction[axis]));
        first = signed_axis;
    }
    std::vector<Plan> plans;
    for (int axis = 0; axis < 3; ++axis) {
        if (!mixed && axis != first / 2) continue;
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

// Zeros aligned for the widest lanes; calloc leaves pages that are never written unmapped.
class Zeros {
  public:
    explicit Zeros(std::size_t bytes) : memory_(std::calloc(bytes + kAlignment, 1), std::free) {
        if (!memory_) throw std::bad_alloc();
    }
    void* get() const {
        const auto address = reinterpret_cast<std::uintptr_t>(memory_.get());
        return reinterpret_cast<void*>((address + kAlignment - 1) / kAlignment * kAlignment);
    }
    float* floats() const { return static_cast<float*>(get()); }

  private:
    static constexpr std::size_t kAlignment = 64;
    std::unique_ptr<void, void (*)(void*)> memory_;
};

constexpr bool shapes_fit() {
    for (const Shape& shape : kShapes)
        if (shape.lines * shape.lanes > kTileRays) return false;
    return true;
}
static_assert(shapes_fit(), "the packets of a tile have kTileRays rays at most");

struct Task {
    std::size_t job;
    Tile tile;
};

// What one thread works in.
struct Workspace {
    // Labels are walked with an image and without: pages that nothing touches cost nothing.
    explicit Workspace(const Scene& scene)
        : images{Zeros(kBrick), Zeros(kBrick)},
          labels{Zeros(scene.label ? kCodes : 0), Zeros(scene.label ? kCodes : 0)},
          uniform(scene.label ? kUniformCodes * sizeof(std::int32_t) : 0),
          packets(kPacketBytes),
          collected(values_of(scene) * kCollectedFloats * sizeof(float)),
          indices((3 * values_of(scene) + 1) * sizeof(std::int32_t)),
          touched(values_of(scene) * kTouchedWords * sizeof(std::uint64_t)),
          values(values_of(scene)) {}
    Scratch scratch() const {
        auto* const numbers = static_cast<std::int32_t*>(indices.get());
        return {{images[0].floats() + kBrickLead, images[1].floats() + kBrickLead},
                {labels[0].get(), labels[1].get()},
                static_cast<std::int32_t*>(uniform.get()),
                packets.get(),
                {collected.floats(), numbers, numbers + values + 1, numbers + 2 * values + 1,
                 static_cast<std::uint64_t*>(touched.get())}};
    }
    bool fits(const Scene& scene) const { return values == values_of(scene); }
    static std::size_t values_of(const Scene& scene) { return static_cast<std::size_t>(scene.structures.value_count); }

    static constexpr std::size_t kBrick = (kBrickLead + kBrickFloats + kBrickSlack) * sizeof(float);
    static constexpr std::size_t kCodes = (kBrickFloats + kBrickSlack) * sizeof(std::uint16_t);
    Zeros images[2], labels[2], uniform, packets, collected, indices, touched;
    std::size_t values;
};

// Workspaces that wait for the next call: mapping fresh memory takes longer than projecting a small volume. Without
// locks, which a forked process could find locked for ever.
class Workspaces {
  public:
    ~Workspaces() {
        for (std::atomic<Workspace*>& place : places_) delete place.load();
    }
    std::unique_ptr<Workspace> take() {
        for (std::atomic<Workspace*>& place : places_)
            if (Workspace* found = place.exchange(nullptr)) return std::unique_ptr<Workspace>(found);
        return nullptr;
    }
    void keep(std::unique_ptr<Workspace> workspace) {
        for (std::atomic<Workspace*>& place : places_) {
            Workspace* empty = nullptr;
            if (place.compare_exchange_strong(empty, workspace.get())) {
                workspace.release();
                return;
            }
        }
    }

  private:
    std::array<std::atomic<Workspace*>, 64> places_{};
};

// Take tasks until there are none left, or until `stop` says so between two of them.
void work(std::size_t tasks, const Scene& scene, Workspaces& workspaces, std::atomic<std::size_t>& next,
          const std::function<bool()>& stop, const std::function<void(std::size_t, const Scratch&)>& task) {
    std::unique_ptr<Workspace> workspace = workspaces.take();
    if (!workspace || !workspace->fits(scene)) workspace = std::make_unique<Workspace>(scene);
    for (std::size_t i = next++; i < tasks && !stop(); i = next++) task(i, workspace->scratch());
    workspaces.keep(std::move(workspace));
}

bool same_place(const Grid& a, const Grid& b) {
    return std::equal(a.size, a.size + 3, b.size) &&
           std::equal(a.world_from_voxel, a.world_from_voxel + 16, b.world_from_voxel);
}

// The order of strides decides which axis is u; a walk that reads another order is slower.
bool same_order(const Grid& a, const Grid& b) {
    for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j)
            if ((std::abs(a.stride[i]) < std::abs(a.stride[j])) != (std::abs(b.stride[i]) < std::abs(b.stride[j])))
                return false;
    return true;
}

// 1 + index by label value, for values of 8 or 16 bits read as unsigned numbers.
std::vector<std::int32_t> index_table(const Scene& scene) {
    if (!scene.label) return {};
    const NumberType type = scene.label->type;
    const bool wide = type > NumberType::uint16;
    std::vector<std::int32_t> table(wide ? 0 : type <= NumberType::uint8 ? 256 : 65536);
    for (std::int64_t i = 0; i < scene.structures.value_count; ++i) {
        const std::int64_t value = scene.structures.values[i];
        if (value > 0 && static_cast<std::size_t>(value) < table.size())
            table[static_cast<std::size_t>(value)] = static_cast<std::int32_t>(i + 1);
    }
    return table;
}

}  // namespace

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const InstructionSet& set : kInstructionSets)
        if (set.runs_here()) names.emplace_back(set.name);
    return names;
}

const std::string& instruction_set() {
    chosen_set();
    return chosen_instruction_set();
}

void use_instruction_set(const std::string& name) {
    const std::string before = chosen_instruction_set();
    chosen_instruction_set() = name;
    try {
        chosen_set();
    } catch (...) {
        chosen_instruction_set() = before;
        throw;
    }
}

namespace {

// Have a team of threads take on the tasks; false when interrupted.
bool share_out(std::size_t tasks, const Scene& scene, Workspaces& workspaces, int threads,
               const std::function<bool()>& interrupted, const std::function<void(std::size_t, const Scratch&)>& task) {
    std::atomic<std::size_t> next{0};
    std::atomic<bool> stopped{false};
    std::exception_ptr failure;
    std::mutex failure_door;
    const auto guarded = [&](bool may_give_up, const std::function<bool()>& stop) {
        try {
            work(tasks, scene, workspaces, next, stop, task);
        } catch (const std::bad_alloc&) {
            // A helper without memory for its bricks leaves the work to the others: the same result, later.
            if (may_give_up) return;
            failure = std::current_exception();
        } catch (...) {
            const std::lock_guard<std::mutex> lock(failure_door);
            failure = std::current_exception();
        }
    };
    const std::size_t helpers = std::min<std::size_t>(static_cast<std::size_t>(threads), tasks);
    std::vector<std::thread> team;
    team.reserve(helpers);
    for (std::size_t i = 1; i < helpers; ++i) {
        try {
            team.emplace_back(guarded, true, [&] { return stopped.load(); });
        } catch (const std::exception&) {
            break;  // no more threads to be had
        }
    }
    auto asked = std::chrono::steady_clock::now();
    guarded(false, [&] {
        const auto now = std::chrono::steady_clock::now();
        if (now - asked > std::chrono::milliseconds(100)) {
            asked = now;
            if (interrupted()) stopped = true;
        }
        return stopped.load();
    });
    for (std::thread& thread : team) thread.join();
    if (failure) std::rethrow_exception(failure);
    return !stopped;
}

// Do rays of the same pixels pass close to each other?
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

// Where a grid's voxels are nothing but zeros.
struct Emptiness {
    std::atomic<std::int64_t> views{0};
    std::mutex door;  // only ever tried
    std::atomic<bool> known{false};
    std::vector<std::uint8_t> hold_something;  // none where the grid is too full
};

// A grid is looked into when more views than this were asked of it. For a CT that takes about as long as a view, and
// few of its cells are empty; labels have fewer bytes, and most of a patient is background.
constexpr std::int64_t kImageViews = 8, kLabelViews = 1;
// Following so many rays, each through a slab, takes about as long as starting a thread for it.
constexpr std::int64_t kStepsPerThread = std::int64_t{1} << 18;
// Less emptiness than this share of the cells does not pay for asking.
constexpr double kLeastEmpty = 1.0 / 16;

}  // namespace

struct LabelCache::Kept {
    Workspaces workspaces;
    Emptiness emptiness;
};

LabelCache::LabelCache() : kept_(std::make_unique<Kept>()) {}
LabelCache::~LabelCache() = default;

struct Shared::Kept {
    Workspaces workspaces;
    Emptiness of_image;
    std::shared_ptr<LabelCache> labels;
};

Shared::Shared(std::shared_ptr<LabelCache> labels) : kept_(std::make_unique<Kept>()) {
    kept_->labels = labels ? std::move(labels) : std::make_shared<LabelCache>();
}
Shared::~Shared() = default;
Shared::Shared(Shared&&) noexcept = default;
Shared& Shared::operator=(Shared&&) noexcept = default;

void project(const Scene& scene, const Views& views, const Outputs& outputs, int threads,
             const std::function<bool()>& interrupted, const Shared& shared) {
    Shared::Kept& kept = *shared.kept_;
    Emptiness &of_image = kept.of_image, &of_labels = kept.labels->kept_->emptiness;
    // A walk may read, and count as nothing, what an earlier one left: of another image that must not be infinite.
    const bool always_finite = !scene.image || scene.image->type < NumberType::float32;
    Workspaces& workspaces = scene.label && always_finite ? kept.labels->kept_->workspaces : kept.workspaces;
    const InstructionSet& chosen = chosen_set();
    const std::vector<std::int32_t> table = index_table(scene);
    const bool shared_out = outputs.label_line_integral || outputs.background_line_integral;
    const bool image = scene.image && (outputs.line_integral || shared_out);
    const bool label = scene.label && (outputs.path_length || outputs.mask || shared_out || outputs.entry_depth ||
                                       outputs.exit_depth || outputs.box);
    const bool together = image && label && same_place(*scene.image, *scene.label) &&
                          (shared_out || same_order(*scene.image, *scene.label));
    const std::int64_t pixels = views.rows * views.columns;
    const std::int64_t packed = views.rows * ((views.columns + 7) / 8);
    const auto cells_of = [](const Grid* grid, const Emptiness& of) {
        const bool known = of.known.load(std::memory_order_acquire) && !of.hold_something.empty();
        Cells cells{known ? of.hold_something.data() : nullptr, {}};
        for (int axis = 0; axis < 3 && grid; ++axis)
            cells.count[axis] = (grid->size[axis] + kCellVoxels - 1) / kCellVoxels;
        return cells;
    };
    const auto job_of = [&](const Grid* image_grid, const Grid* label_grid) {
        Job job{};
        job.image = image_grid;
        job.label = label_grid;
        job.attenuation = scene.attenuation;
        job.index_of_small_value = table.data();
        job.wide_codes = scene.structures.value_count > UINT8_MAX;
        job.structures = scene.structures;
        job.image_cells = cells_of(image_grid, of_image);
        job.label_cells = cells_of(label_grid, of_labels);
        job.rows = views.rows;
        job.columns = views.columns;
        job.image_stride = views.count * pixels;
        job.mask_stride = views.count * packed;
        job.box_stride = views.count * 4;
        return job;
    };

    // Look into a grid if it is time to; false when interrupted.
    const auto look_into = [&](const Grid* grid, bool is_label, Emptiness& of) {
        const std::int64_t least = is_label ? kLabelViews : kImageViews;
        if (of.views.fetch_add(views.count) + views.count <= least || of.known) return true;
        const std::unique_lock<std::mutex> lock(of.door, std::try_to_lock);
        if (!lock || of.known) return true;
        Job job = job_of(is_label ? nullptr : grid, is_label ? grid : nullptr);
        const Cells cells = is_label ? job.label_cells : job.image_cells;
        std::vector<std::uint8_t> found(static_cast<std::size_t>(cells.count[0] * cells.count[1] * cells.count[2]));
        const int axis = widest_stride(*grid);
        choose_axes(job.plan, *grid, axis);
        const bool done = share_out(static_cast<std::size_t>(cells.count[axis]), scene, workspaces, threads,
                                    interrupted, [&](std::size_t i, const Scratch& scratch) {
                                        const auto number = static_cast<std::int64_t>(i);
                                        if (is_label)
                                            look_into_labels(*grid, axis, number, cells, found.data());
                                        else
                                            chosen.look_into_image(job, number, found.data(), scratch);
                                    });
        if (!done) return false;
        const auto empty = static_cast<double>(std::count(found.begin(), found.end(), 0));
        if (empty > kLeastEmpty * static_cast<double>(found.size())) of.hold_something = std::move(found);
        of.known.store(true, std::memory_order_release);
        return true;
    };
    if (image && !look_into(scene.image, false, of_image)) return;
    if (label && !look_into(scene.label, true, of_labels)) return;

    std::vector<Job> jobs;
    std::vector<Task> tasks;
    // Jobs from `first` on take turns, tile by tile, so that one finds the voxels in the cache that another has read.
    std::size_t first = 0;
    const auto hand_out = [&] {
        for (std::size_t tile = 0, had = 1; had > 0; ++tile) {
            had = 0;
            for (std::size_t i = first; i < jobs.size(); ++i) {
                const Plan& plan = jobs[i].plan;
                const std::int64_t across = (plan.lanes + plan.tile_lanes - 1) / plan.tile_lanes;
                const auto number = static_cast<std::int64_t>(tile);
                const std::int64_t line = number / across * plan.tile_lines, lane = number % across * plan.tile_lanes;
                if (line >= plan.lines) continue;
                ++had;
                tasks.push_back({i,
                                 {plan.first_line + line, lane,
                                  static_cast<int>(std::min<std::int64_t>(plan.tile_lines, plan.lines - line)),
                                  static_cast<int>(std::min<std::int64_t>(plan.tile_lanes, plan.lanes - lane))}});
            }
        }
        first = jobs.size();
    };
    const auto add = [&](std::int64_t view, const Grid* image_grid, const Grid* label_grid) {
        const Grid& grid = image_grid ? *image_grid : *label_grid;
        for (Plan& plan : plan_view(grid, views.matrices + 16 * view, views.rows, views.columns, chosen.lanes)) {
            // Shares are added up where the image and its labels are walked together, staged.
            if (label_grid && shared_out) plan.image_in_place = plan.labels_in_place = false;
            if ((!image_grid || plan.image_in_place) && (!label_grid || plan.labels_in_place)) {
                plan.tile_lines = kFarApartLines;
                plan.tile_lanes = kFarApartLanes;
            }
            if (first < jobs.size() && !are_alike(jobs.back().plan, plan, grid, views.rows, views.columns)) hand_out();
            jobs.push_back(job_of(image_grid, label_grid));
            Job& job = jobs.back();
            job.plan = plan;
            const auto of_view = [&](auto* output, bool made, std::int64_t numbers) {
                return output && made ? output + view * numbers : nullptr;
            };
            job.outputs = {of_view(outputs.line_integral, image_grid, pixels),
                           of_view(outputs.path_length, label_grid, pixels),
                           of_view(outputs.mask, label_grid, packed),
                           of_view(outputs.label_line_integral, label_grid, pixels),
                           of_view(outputs.background_line_integral, label_grid, pixels),
                           of_view(outputs.entry_depth, label_grid, pixels),
                           of_view(outputs.exit_depth, label_grid, pixels),
                           of_view(outputs.box, label_grid, 4)};
        }
    };
    if (image)
        for (std::int64_t view = 0; view < views.count; ++view)
            add(view, scene.image, together ? scene.label : nullptr);
    hand_out();
    if (label && !together)
        for (std::int64_t view = 0; view < views.count; ++view) add(view, nullptr, scene.label);
    hand_out();

    std::int64_t slabs = 1;
    for (const Grid* grid : {scene.image, scene.label})
        if (grid) slabs = std::max(slabs, *std::max_element(grid->size, grid->size + 3));
    const auto team =
        static_cast<int>(std::min<std::int64_t>(threads, 1 + views.count * pixels * slabs / kStepsPerThread));
    share_out(tasks.size(), scene, workspaces, team, interrupted, [&](std::size_t i, const Scratch& scratch) {
        chosen.trace_tile(jobs[tasks[i].job], tasks[i].tile, scratch);
    });
}

}  // namespace drrproj
