// Cuts the planned views into tiles, and hands those to threads.
#include "cpu.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

#include "emptiness.h"
#include "index_space.h"
#include "instruction_sets.h"
#include "job.h"
#include "plan.h"
#include "workspace.h"

namespace drrproj {
namespace {

struct Task {
    std::size_t job;
    Tile tile;
};

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

// Have a team of threads take on the tasks; false when interrupted.
bool share_out(std::size_t tasks, const Scene& scene, Workspaces& workspaces, int threads,
               const std::function<bool()>& interrupted, const std::function<void(std::size_t, const Scratch&)>& task) {
    std::atomic<std::size_t> next{0};
    std::atomic<bool> stopped{false};
    std::exception_ptr failure;
    std::mutex failure_door;
    const auto work = [&](bool may_give_up, const std::function<bool()>& stop) {
        try {
            std::unique_ptr<Workspace> workspace = workspaces.take();
            try {
                if (!workspace || !workspace->fits(scene)) workspace = std::make_unique<Workspace>(scene);
            } catch (const std::bad_alloc&) {
                // A helper without memory for its bricks leaves the work to the others: the same result, later. One
                // that fails at a task it has taken leaves that to nobody.
                if (may_give_up) return;
                throw;
            }
            for (std::size_t i = next++; i < tasks && !stop(); i = next++) task(i, workspace->scratch());
            workspaces.keep(std::move(workspace));
        } catch (...) {
            const std::lock_guard<std::mutex> lock(failure_door);
            failure = std::current_exception();
            stopped = true;
        }
    };
    auto asked = std::chrono::steady_clock::now();
    // Made before there are threads, which nobody would join if it threw.
    const std::function<bool()> ask = [&] {
        const auto now = std::chrono::steady_clock::now();
        if (now - asked > std::chrono::milliseconds(100)) {
            asked = now;
            if (interrupted()) stopped = true;
        }
        return stopped.load();
    };
    const std::size_t helpers = std::min<std::size_t>(static_cast<std::size_t>(threads), tasks);
    std::vector<std::thread> team;
    team.reserve(helpers);
    for (std::size_t i = 1; i < helpers; ++i) {
        try {
            team.emplace_back(work, true, [&] { return stopped.load(); });
        } catch (const std::exception&) {
            break;  // no more threads to be had
        }
    }
    work(false, ask);
    for (std::thread& thread : team) thread.join();
    if (failure) std::rethrow_exception(failure);
    return !stopped;
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
