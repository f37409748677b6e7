#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "cuda.h"
#include "gpu_walk.h"
#include "index_space.h"

#if defined(DRRPROJ_EMULATED_CUDA)
#include "emulated_cuda.h"
#else
#include <cuda_runtime.h>

namespace drrproj {

template <int Threads, class Body>
__global__ void __launch_bounds__(Threads) run(const Body body) {
    body(blockIdx.x, static_cast<int>(threadIdx.x));
}

template <int Threads, class Body>
void start(const Body& body, std::uint32_t blocks, cudaStream_t stream) {
    run<Threads><<<blocks, Threads, 0, stream>>>(body);
}

}  // namespace drrproj
#endif

namespace drrproj {
namespace gpu {

// What rays collect of labels, and outputs on their way to the host, take no more than this, or half of what is free.
constexpr std::size_t kChunkBytes = std::size_t{512} << 20;
// Steps in such a plane of floats, along both of its axes at once, fit 32 bits of bytes.
constexpr std::int64_t kMostPlaneVoxels = std::int64_t{1} << 28;
// Voxels on their way from the host to the device, with what lies between them.
constexpr std::size_t kStagedBytes = std::size_t{64} << 20;

// What a full device may have to give.
constexpr const char* kKeptElsewhere =
    "; memory that torch and CuPy keep for later counts as taken: torch.cuda.empty_cache() and "
    "cupy.get_default_memory_pool().free_all_blocks() give it back";

double gibibytes(std::size_t bytes) { return static_cast<double>(bytes) / static_cast<double>(std::size_t{1} << 30); }

template <class... Parts>
std::string text(const char* format, Parts... parts) {
    char buffer[500];
    std::snprintf(buffer, sizeof(buffer), format, parts...);
    return buffer;
}

void check(cudaError_t error, const char* what) {
    if (error == cudaSuccess) return;
    // Forget it: the next call is to be judged by its own errors.
    cudaGetLastError();
    const std::string message = text("CUDA could not %s: %s", what, cudaGetErrorString(error));
    if (error == cudaErrorMemoryAllocation) throw DeviceMemoryError(message + kKeptElsewhere);
    throw std::runtime_error(message);
}

// Copy, on the stream, what there is to copy.
void copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    if (bytes == 0) return;
    check(cudaMemcpyAsync(to, from, bytes, kind, stream),
          kind == cudaMemcpyHostToDevice ? "copy to the device" : "copy from the device");
}

std::size_t free_bytes() {
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "tell how much memory is free");
    return free;
}

// The device that is current, as long as this lives.
class CurrentDevice {
  public:
    explicit CurrentDevice(int device) {
        check(cudaGetDevice(&before_), "name its device");
        if (device != before_) check(cudaSetDevice(device), "choose its device");
    }
    ~CurrentDevice() { cudaSetDevice(before_); }
    CurrentDevice(const CurrentDevice&) = delete;
    CurrentDevice& operator=(const CurrentDevice&) = delete;

  private:
    int before_ = 0;
};

template <class Number>
class DeviceArray {
  public:
    DeviceArray() = default;
    explicit DeviceArray(std::size_t count) : count_(count) {
        void* memory = nullptr;
        check(cudaMalloc(&memory, std::max<std::size_t>(count, 1) * sizeof(Number)), "have memory");
        memory_.reset(static_cast<Number*>(memory));
    }
    Number* get() const { return memory_.get(); }
    std::size_t count() const { return count_; }
    // What was there is lost.
    void grow_to(std::size_t count) {
        if (count <= count_) return;
        *this = DeviceArray();
        *this = DeviceArray(count);
    }
    void clear(std::size_t count, cudaStream_t stream) const {
        if (count > 0) check(cudaMemsetAsync(get(), 0, count * sizeof(Number), stream), "clear memory");
    }

  private:
    struct Free {
        void operator()(Number* memory) const { cudaFree(memory); }
    };
    std::unique_ptr<Number, Free> memory_;
    std::size_t count_ = 0;
};

template <class Number>
DeviceArray<Number> on_device(const Number* numbers, std::int64_t count, cudaStream_t stream) {
    DeviceArray<Number> array(static_cast<std::size_t>(count));
    copy(array.get(), numbers, static_cast<std::size_t>(count) * sizeof(Number), cudaMemcpyHostToDevice, stream);
    return array;
}

class Stream {
  public:
    Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "make a stream"); }
    ~Stream() { cudaStreamDestroy(stream_); }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    cudaStream_t get() const { return stream_; }

  private:
    cudaStream_t stream_ = nullptr;
};

class Event {
  public:
    Event() { check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "make an event"); }
    ~Event() { cudaEventDestroy(event_); }
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;
    cudaEvent_t get() const { return event_; }

  private:
    cudaEvent_t event_ = nullptr;
};

template <class Body>
void launch(const Body& body, std::int64_t blocks, cudaStream_t stream) {
    if (blocks < 1) return;
    if (blocks > INT32_MAX) throw std::invalid_argument("more pixels or voxels than one launch takes");
    start<kBlockThreads>(body, static_cast<std::uint32_t>(blocks), stream);
#if !defined(DRRPROJ_EMULATED_CUDA)
    check(cudaGetLastError(), "start a kernel");
#endif
}

std::int64_t blocks_for(std::int64_t threads) { return (threads + kBlockThreads - 1) / kBlockThreads; }

// What one projection works in, kept for the next one.
struct Workspace {
    Stream stream;
    Event done, views_copied;
    // Of the host, until a stream has copied them; freeing what is on the device waits for that.
    std::vector<DeviceView> host_image_views, host_label_views;
    DeviceArray<DeviceView> image_views, label_views;
    DeviceArray<float> path, integral, from_start, from_end, mm_per_slab;
    DeviceArray<float> line_integral, background, path_length, label_line_integral, entry_depth, exit_depth;
    DeviceArray<std::uint8_t> mask;
    DeviceArray<std::int32_t> box;
};

// Axes from the widest stride on, so that voxels which lie together stay together.
void by_stride(const Grid& grid, int axes[3]) {
    std::iota(axes, axes + 3, 0);
    std::stable_sort(axes, axes + 3, [&](int a, int b) { return std::abs(grid.stride[a]) > std::abs(grid.stride[b]); });
}

DeviceGrid device_grid(const Grid& grid, const int axes[3]) {
    DeviceGrid placed{};
    std::int64_t voxels = 1;
    for (int i = 2; i >= 0; --i) {
        const int axis = axes[i];
        if (voxels > kMostPlaneVoxels)
            throw std::invalid_argument(
                "the CUDA backend walks volumes whose planes have up to 2^28 voxels; crop it, or use backend=\"cpu\"");
        placed.size[axis] = placed.end[axis] = grid.size[axis];
        placed.stride[axis] = static_cast<std::int32_t>(voxels);
        placed.first += kPadding * voxels;
        voxels *= grid.size[axis] + 2 * kPadding;
    }
    metric_of(grid, placed.metric);
    return placed;
}

// The voxels of a grid on the device: all of them, or where they do not fit one piece after the other, of some planes
// each across the axis with the widest stride.
struct Voxels {
    Grid grid{};
    int axes[3] = {};    // from the widest stride on
    DeviceGrid place{};  // of all of them
    std::size_t plane_bytes = 0;
    std::int64_t most_planes = 0;  // of a piece
    DeviceArray<std::uint8_t> memory;
    std::int64_t held = -1;  // the piece that is there

    Voxels() = default;
    Voxels(const Grid& of, const int (&along)[3], std::size_t bytes_per_voxel)
        : grid(of), place(device_grid(of, along)), most_planes(of.size[along[0]]) {
        std::copy(along, along + 3, axes);
        plane_bytes = static_cast<std::size_t>(place.stride[axes[0]]) * bytes_per_voxel;
    }
    std::int64_t planes() const { return grid.size[axes[0]]; }
    std::int64_t pieces() const { return most_planes > 0 ? (planes() + most_planes - 1) / most_planes : 0; }
    std::size_t bytes() const {
        return most_planes > 0 ? static_cast<std::size_t>(most_planes + 2 * kPadding) * plane_bytes : 0;
    }
    void cut_into(std::int64_t pieces) { most_planes = (planes() + pieces - 1) / pieces; }
    DeviceGrid piece(std::int64_t number) const {
        DeviceGrid part = place;
        part.begin[axes[0]] = number * most_planes;
        part.end[axes[0]] = std::min(planes(), (number + 1) * most_planes);
        part.first -= part.begin[axes[0]] * part.stride[axes[0]];
        return part;
    }
};

DeviceView device_view(const Grid& grid, const double* view) {
    DeviceView placed{};
    double* const columns[4] = {placed.source, placed.first_pixel, placed.row_step, placed.column_step};
    for (int column = 0; column < 4; ++column) to_index_space(grid, view, column, columns[column]);
    placed.parallel = view[12] == 0.0;
    return placed;
}

// Voxels of the host whose bytes, from the first to the last one, fit memory on the device, where `convert` takes them;
// others in two halves.
template <class Convert>
void stage_voxels(Moved moved, const DeviceArray<char>& staged, cudaStream_t stream, const Convert& convert) {
    // A negative stride puts bytes before the first voxel.
    std::int64_t low = 0, bytes = size_of(moved.source.type);
    for (int i = 0; i < 3; ++i) {
        const std::int64_t reach = moved.source.stride[i] * (moved.source.size[i] - 1);
        low += std::min<std::int64_t>(reach, 0);
        bytes += std::abs(reach);
    }
    if (bytes <= static_cast<std::int64_t>(staged.count())) {
        copy(staged.get(), moved.source.voxels + low, static_cast<std::size_t>(bytes), cudaMemcpyHostToDevice, stream);
        moved.source.voxels = staged.get() - low;
        convert(moved);
        return;
    }
    const int widest = moved.source.size[0] > 1 ? 0 : moved.source.size[1] > 1 ? 1 : 2;
    const std::int64_t half = moved.source.size[widest] / 2, rest = moved.source.size[widest] - half;
    moved.source.size[widest] = half;
    stage_voxels(moved, staged, stream, convert);
    moved.source.size[widest] = rest;
    moved.source.voxels += half * moved.source.stride[widest];
    moved.first += half * moved.stride[widest];
    stage_voxels(moved, staged, stream, convert);
}

// Have `convert` launched for the voxels of a piece, part by part where they come from the host.
template <class Convert>
void move_voxels(const Voxels& all, const DeviceGrid& piece, bool is_on_device, cudaStream_t stream,
                 const Convert& convert) {
    const Grid& grid = all.grid;
    // The source's own order, which is not that of the piece where labels lie otherwise than their image: what is
    // copied at once lies together.
    int axes[3];
    by_stride(grid, axes);
    Moved moved{};
    moved.source.type = grid.type;
    moved.source.voxels = static_cast<const char*>(grid.voxels);
    moved.first = piece.first;
    std::int64_t bytes = size_of(grid.type);
    for (int i = 0; i < 3; ++i) {
        const int axis = axes[i];
        moved.source.size[i] = piece.end[axis] - piece.begin[axis];
        moved.source.stride[i] = grid.stride[axis];
        moved.stride[i] = piece.stride[axis];
        moved.source.voxels += piece.begin[axis] * grid.stride[axis];
        moved.first += piece.begin[axis] * piece.stride[axis];
        bytes += std::abs(grid.stride[axis]) * (moved.source.size[i] - 1);
    }
    if (is_on_device) {
        convert(moved);
        return;
    }
    // With less than that, copies of a few voxels each would never end.
    const std::size_t most = std::max(std::min(kStagedBytes, free_bytes() / 2), std::size_t{4096});
    const DeviceArray<char> staged(std::min(most, static_cast<std::size_t>(bytes)));
    stage_voxels(moved, staged, stream, convert);
    check(cudaStreamSynchronize(stream), "take over voxels");
}

int device_of(const void* memory) {
    cudaPointerAttributes attributes{};
    check(cudaPointerGetAttributes(&attributes, memory), "say which device an array is on");
    return attributes.device;
}

// A kernel would reach into another device's memory, or fail to, without a word.
void check_device(const void* memory, int device) {
    const int found = device_of(memory);
    if (found != device)
        throw std::invalid_argument(
            text("an array is on GPU %d, and the voxels on GPU %d; move them to one", found, device));
}

cudaStream_t stream_of(const ArrayPlace& place) { return reinterpret_cast<cudaStream_t>(place.stream); }

// A part of an output that a launch fills: in the caller's memory on the device, or in memory of ours that is copied to
// the host.
template <class Number>
struct Destination {
    Number* whole = nullptr;  // the caller's; null where not asked for
    DeviceArray<Number>* chunk = nullptr;
    std::int64_t per_line = 0, lines = 0, structures = 1;  // of the whole
    bool on_device = false;

    Number* of_chunk(std::int64_t first, std::int64_t count) {
        if (!whole) return nullptr;
        if (on_device) return whole + first * per_line;
        chunk->grow_to(static_cast<std::size_t>(structures * count * per_line));
        return chunk->get();
    }
    std::int64_t stride(std::int64_t count) const { return (on_device ? lines : count) * per_line; }
    std::size_t bytes_per_line() const {
        return whole && !on_device ? static_cast<std::size_t>(structures * per_line) * sizeof(Number) : 0;
    }
    // Copy between the chunk and the host: what is there before, or what was made.
    void transfer(std::int64_t first, std::int64_t count, cudaMemcpyKind kind, cudaStream_t stream) const {
        if (!whole || on_device) return;
        const auto bytes = static_cast<std::size_t>(count * per_line) * sizeof(Number);
        for (std::int64_t i = 0; i < structures; ++i) {
            Number* const host = whole + (i * lines + first) * per_line;
            Number* const device = chunk->get() + i * count * per_line;
            if (kind == cudaMemcpyHostToDevice)
                copy(device, host, bytes, kind, stream);
            else
                copy(host, device, bytes, kind, stream);
        }
    }
};

}  // namespace gpu

using namespace gpu;

std::optional<std::string> why_no_gpu() {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaSuccess && count > 0) return std::nullopt;
    cudaGetLastError();
    if (error == cudaErrorInsufficientDriver)
        return "this machine has no driver for an NVIDIA GPU, or one too old for this build of drrproj (error 35)";
    if (error == cudaErrorNoDevice || error == cudaSuccess) return "this machine has no NVIDIA GPU (error 100)";
    return text("CUDA cannot use a GPU here: %s (error %d)", cudaGetErrorString(error), static_cast<int>(error));
}

struct DeviceScene::Held {
    int device = 0;
    bool together = false, wide = false;
    Voxels image, codes;       // floats; of 8 bits, or of 16 where `wide`
    bool from_device = false;  // are the caller's voxels there?
    std::int32_t bends = 0;
    DeviceArray<float> knots, heights, slopes;
    std::int64_t value_count = 0, structures = 0;
    DeviceArray<std::int64_t> values, first_value, value_indices;
    DeviceArray<float> min_path_mm;

    std::mutex alone;  // for a call that changes which piece is in memory
    std::mutex door;
    std::vector<std::unique_ptr<Workspace>> idle;

    std::unique_ptr<Workspace> take_workspace() {
        const std::lock_guard<std::mutex> lock(door);
        if (idle.empty()) return std::make_unique<Workspace>();
        std::unique_ptr<Workspace> workspace = std::move(idle.back());
        idle.pop_back();
        return workspace;
    }
    void give_back(std::unique_ptr<Workspace> workspace) {
        const std::lock_guard<std::mutex> lock(door);
        idle.push_back(std::move(workspace));
    }

    bool is_cut() const { return image.pieces() > 1 || codes.pieces() > 1; }
    void place_voxels();
    void upload(const Scene& scene, cudaStream_t stream);
    DeviceGrid hold_image(std::int64_t piece, cudaStream_t stream);
    DeviceGrid hold_codes(std::int64_t piece, cudaStream_t stream);
    template <class Code>
    void convert_codes(const DeviceGrid& piece, cudaStream_t stream) const;
    template <int What>
    void collect(const Rays& rays, std::int64_t blocks, const DeviceGrid& piece, const Collected& collected,
                 const LineIntegrals& line_integrals, const LineIntegrals& background, cudaStream_t stream) const;
    void project(Workspace& workspace, const Views& views, const Outputs& outputs, bool is_on_device,
                 cudaStream_t stream, const std::function<bool()>& interrupted);
};

// Choose the pieces, and have memory for one of each.
void DeviceScene::Held::place_voxels() {
    const std::size_t needed = image.bytes() + codes.bytes(), free = free_bytes();
    const std::size_t rest = std::min(kStagedBytes + kChunkBytes, free / 8);
    const std::int64_t most = std::max(image.planes(), codes.planes());
    for (std::int64_t pieces = 2; image.bytes() + codes.bytes() > (pieces == 2 ? free - rest : free / 2); ++pieces) {
        if (pieces > most)
            throw DeviceMemoryError(
                text("the volumes need %.3g GiB of the GPU's memory, of which %.3g GiB are free, too few even for one "
                     "plane of voxels after the other; crop them, resample them, or use backend=\"cpu\"%s",
                     gibibytes(needed), gibibytes(free), kKeptElsewhere));
        if (image.pieces() > 0) image.cut_into(pieces);
        if (codes.pieces() > 0) codes.cut_into(pieces);
    }
    image.memory = DeviceArray<std::uint8_t>(image.bytes());
    codes.memory = DeviceArray<std::uint8_t>(codes.bytes());
}

void DeviceScene::Held::upload(const Scene& scene, cudaStream_t stream) {
    together = scene.image && scene.label && same_place(*scene.image, *scene.label);
    wide = scene.structures.value_count > UINT8_MAX;
    int image_axes[3] = {}, label_axes[3] = {};
    if (scene.image) {
        by_stride(*scene.image, image_axes);
        image = Voxels(*scene.image, image_axes, sizeof(float));
        bends = scene.attenuation.bends;
        knots = on_device(scene.attenuation.knot, bends, stream);
        heights = on_device(scene.attenuation.height, bends, stream);
        slopes = on_device(scene.attenuation.slope, bends, stream);
    }
    if (scene.label) {
        by_stride(*scene.label, label_axes);
        // On one grid the labels lie as the image does: one walk finds both.
        codes = Voxels(*scene.label, together ? image_axes : label_axes, wide ? 2 : 1);
        const Structures& all = scene.structures;
        value_count = all.value_count;
        structures = all.count;
        values = on_device(all.values, all.value_count, stream);
        first_value = on_device(all.first_value, all.count + 1, stream);
        value_indices = on_device(all.value_indices, all.first_value[all.count], stream);
        min_path_mm = on_device(all.min_path_mm, all.count, stream);
    }
    place_voxels();
    if (scene.image) hold_image(0, stream);
    if (scene.label) hold_codes(0, stream);
    check(cudaStreamSynchronize(stream), "convert voxels");
}

// Have a piece of the image in memory, and say where it lies.
DeviceGrid DeviceScene::Held::hold_image(std::int64_t number, cudaStream_t stream) {
    const DeviceGrid piece = image.piece(number);
    if (image.held == number) return piece;
    image.held = -1;
    image.memory.clear(image.memory.count(), stream);
    const Attenuation law{knots.get(), heights.get(), slopes.get(), bends};
    float* const to = reinterpret_cast<float*>(image.memory.get());
    move_voxels(image, piece, from_device, stream, [&](const Moved& moved) {
        launch(ConvertImage{moved, law, to}, blocks_for(moved.source.count()), stream);
    });
    image.held = number;
    return piece;
}

template <class Code>
void DeviceScene::Held::convert_codes(const DeviceGrid& piece, cudaStream_t stream) const {
    Code* const to = reinterpret_cast<Code*>(codes.memory.get());
    move_voxels(codes, piece, from_device, stream, [&](const Moved& moved) {
        launch(ConvertLabels<Code>{moved, values.get(), value_count, to}, blocks_for(moved.source.count()), stream);
    });
}

DeviceGrid DeviceScene::Held::hold_codes(std::int64_t number, cudaStream_t stream) {
    const DeviceGrid piece = codes.piece(number);
    if (codes.held == number) return piece;
    codes.held = -1;
    codes.memory.clear(codes.memory.count(), stream);
    if (wide)
        convert_codes<std::uint16_t>(piece, stream);
    else
        convert_codes<std::uint8_t>(piece, stream);
    codes.held = number;
    return piece;
}

template <int What>
void DeviceScene::Held::collect(const Rays& rays, std::int64_t blocks, const DeviceGrid& piece,
                                const Collected& collected, const LineIntegrals& line_integrals,
                                const LineIntegrals& background, cudaStream_t stream) const {
    const auto* const voxels = reinterpret_cast<const float*>(image.memory.get());
    if (wide)
        launch(CollectLabels<What, std::uint16_t>{rays, piece, voxels,
                                                  reinterpret_cast<const std::uint16_t*>(codes.memory.get()), collected,
                                                  line_integrals, background},
               blocks, stream);
    else
        launch(CollectLabels<What, std::uint8_t>{rays, piece, voxels, codes.memory.get(), collected, line_integrals,
                                                 background},
               blocks, stream);
}

void DeviceScene::Held::project(Workspace& workspace, const Views& views, const Outputs& outputs, bool is_on_device,
                                cudaStream_t stream, const std::function<bool()>& interrupted) {
    const bool with_integral = outputs.label_line_integral || outputs.background_line_integral;
    const bool with_depth = outputs.entry_depth || outputs.exit_depth;
    const bool labels = outputs.path_length || outputs.mask || outputs.box || with_depth || with_integral;
    if (with_integral && !together)
        throw std::invalid_argument("shares of the line integral need labels on the volume's grid");
    const std::int64_t lines = views.count * views.rows, columns = views.columns;

    check(cudaEventSynchronize(workspace.views_copied.get()), "wait for views");
    const auto place_views = [&](const Grid& grid, std::vector<DeviceView>& all, DeviceArray<DeviceView>& placed) {
        all.clear();
        for (std::int64_t view = 0; view < views.count; ++view)
            all.push_back(device_view(grid, views.matrices + 16 * view));
        placed.grow_to(all.size());
        copy(placed.get(), all.data(), all.size() * sizeof(DeviceView), cudaMemcpyHostToDevice, stream);
    };
    if (image.pieces() > 0) place_views(image.grid, workspace.host_image_views, workspace.image_views);
    if (codes.pieces() > 0) place_views(codes.grid, workspace.host_label_views, workspace.label_views);
    check(cudaEventRecord(workspace.views_copied.get(), stream), "record an event");

    const auto destination = [&](auto* whole, auto& chunk, std::int64_t per_line, std::int64_t count) {
        using Number = std::remove_pointer_t<decltype(whole)>;
        return Destination<Number>{whole, &chunk, per_line, lines, count, is_on_device};
    };
    auto line_integral = destination(outputs.line_integral, workspace.line_integral, columns, 1);
    auto background = destination(outputs.background_line_integral, workspace.background, columns, 1);
    auto path_length = destination(outputs.path_length, workspace.path_length, columns, structures);
    auto mask = destination(outputs.mask, workspace.mask, (columns + 7) / 8, structures);
    auto share = destination(outputs.label_line_integral, workspace.label_line_integral, columns, structures);
    auto entry = destination(outputs.entry_depth, workspace.entry_depth, columns, structures);
    auto exit = destination(outputs.exit_depth, workspace.exit_depth, columns, structures);

    // As many lines at once as the chunk holds: what they collect, and their outputs on the way to the host.
    const auto values = static_cast<std::size_t>(value_count);
    const std::size_t quantities = 1 + (with_integral ? 1 : 0) + (with_depth ? 2 : 0);
    const std::size_t collected_bytes =
        labels ? static_cast<std::size_t>(columns) * sizeof(float) * (1 + quantities * values) : 0;
    const std::size_t bytes_per_line = collected_bytes + line_integral.bytes_per_line() + background.bytes_per_line() +
                                       path_length.bytes_per_line() + mask.bytes_per_line() + share.bytes_per_line() +
                                       entry.bytes_per_line() + exit.bytes_per_line();
    std::int64_t chunk_lines = lines;
    if (bytes_per_line > 0) {
        const std::size_t kept = (workspace.path.count() + workspace.integral.count() + workspace.from_start.count() +
                                  workspace.from_end.count() + workspace.path_length.count()) *
                                 sizeof(float);
        const std::size_t half = (free_bytes() + kept) / 2;
        // Each chunk of rays asks for every piece anew: the fewer the better.
        const std::size_t most = (is_cut() ? half : std::min(kChunkBytes, half)) / bytes_per_line;
        chunk_lines = std::min(lines, static_cast<std::int64_t>(std::max<std::size_t>(1, most)));
    }

    const auto box_numbers = static_cast<std::size_t>(structures * views.count * 4);
    if (outputs.box && !is_on_device) {
        workspace.box.grow_to(box_numbers);
        // Another walk of these labels, on a grid of its own, may have been there before.
        copy(workspace.box.get(), outputs.box, box_numbers * sizeof(*outputs.box), cudaMemcpyHostToDevice, stream);
    }
    std::int32_t* const box = !outputs.box ? nullptr : is_on_device ? outputs.box : workspace.box.get();
    bool is_stopped = false;
    const auto stopped = [&] { return is_stopped = is_stopped || interrupted(); };
    for (std::int64_t first = 0; first < lines && !stopped(); first += chunk_lines) {
        const std::int64_t count = std::min(chunk_lines, lines - first), pixels = count * columns;
        const std::int64_t across = (columns + kBlockColumns - 1) / kBlockColumns;
        const std::int64_t blocks = across * ((count + kBlockRows - 1) / kBlockRows);
        Rays rays{workspace.image_views.get(),
                  static_cast<std::int32_t>(views.rows),
                  static_cast<std::int32_t>(columns),
                  first,
                  count,
                  static_cast<std::uint32_t>(across)};
        float* const lines_of_image = line_integral.of_chunk(first, count);
        const bool fused = labels && together && (outputs.line_integral || with_integral);
        for (std::int64_t piece = 0; piece < image.pieces() && outputs.line_integral && !fused; ++piece) {
            if (piece > 0 && stopped()) break;
            const DeviceGrid part = hold_image(piece, stream);
            launch(
                ProjectImage{
                    rays, part, reinterpret_cast<const float*>(image.memory.get()), {lines_of_image, piece > 0}},
                blocks, stream);
        }
        if (labels && !is_stopped) {
            rays.views = workspace.label_views.get();
            const auto scratch = [&](DeviceArray<float>& array, bool wanted) -> float* {
                if (!wanted) return nullptr;
                const std::size_t numbers = values * static_cast<std::size_t>(pixels);
                array.grow_to(numbers);
                array.clear(numbers, stream);
                return array.get();
            };
            workspace.mm_per_slab.grow_to(static_cast<std::size_t>(pixels));
            const Collected collected{scratch(workspace.path, true),
                                      scratch(workspace.integral, with_integral),
                                      scratch(workspace.from_start, with_depth),
                                      scratch(workspace.from_end, with_depth),
                                      workspace.mm_per_slab.get(),
                                      pixels};
            float* const background_lines = background.of_chunk(first, count);
            for (std::int64_t piece = 0; piece < codes.pieces(); ++piece) {
                if (piece > 0 && stopped()) break;
                if (fused) hold_image(piece, stream);
                const DeviceGrid part = hold_codes(piece, stream);
                const LineIntegrals whole{lines_of_image, piece > 0}, rest{background_lines, piece > 0};
                if (with_integral)
                    collect<kImage | kIntegral>(rays, blocks, part, collected, whole, rest, stream);
                else if (fused)
                    collect<kImage>(rays, blocks, part, collected, whole, rest, stream);
                else
                    collect<0>(rays, blocks, part, collected, whole, rest, stream);
            }
            const StructureOutputs made{path_length.of_chunk(first, count),
                                        mask.of_chunk(first, count),
                                        share.of_chunk(first, count),
                                        entry.of_chunk(first, count),
                                        exit.of_chunk(first, count),
                                        box,
                                        count * columns,
                                        count * ((columns + 7) / 8),
                                        views.count};
            // What no ray meets keeps the depth that it has.
            entry.transfer(first, count, cudaMemcpyHostToDevice, stream);
            exit.transfer(first, count, cudaMemcpyHostToDevice, stream);
            FinishStructures finish{
                rays,       codes.place, collected, first_value.get(), value_indices.get(), min_path_mm.get(),
                structures, made};
            if (is_on_device) {
                finish.outputs.image_stride = lines * columns;
                finish.outputs.mask_stride = lines * ((columns + 7) / 8);
            }
            launch(finish, blocks_for(structures * count * ((columns + 7) / 8)), stream);
            background.transfer(first, count, cudaMemcpyDeviceToHost, stream);
            path_length.transfer(first, count, cudaMemcpyDeviceToHost, stream);
            mask.transfer(first, count, cudaMemcpyDeviceToHost, stream);
            share.transfer(first, count, cudaMemcpyDeviceToHost, stream);
            entry.transfer(first, count, cudaMemcpyDeviceToHost, stream);
            exit.transfer(first, count, cudaMemcpyDeviceToHost, stream);
        }
        line_integral.transfer(first, count, cudaMemcpyDeviceToHost, stream);
    }
    if (outputs.box && !is_on_device)
        copy(outputs.box, box, box_numbers * sizeof(*box), cudaMemcpyDeviceToHost, stream);
    // The next call may come on another stream, and change the piece that is in memory.
    if (!is_on_device || is_cut()) check(cudaStreamSynchronize(stream), "finish a projection");
}

DeviceScene::DeviceScene(const Scene& scene, const ArrayPlace& place) : held_(std::make_unique<Held>()) {
    check(cudaGetDevice(&held_->device), "name its device");
    if (place.on_device) {
        held_->device = device_of(scene.image ? scene.image->voxels : scene.label->voxels);
        if (scene.label) check_device(scene.label->voxels, held_->device);
    }
    const CurrentDevice current(held_->device);
    const Stream own;
    held_->from_device = place.on_device;
    held_->upload(scene, place.on_device ? stream_of(place) : own.get());
}

DeviceScene::~DeviceScene() = default;
DeviceScene::DeviceScene(DeviceScene&&) noexcept = default;
DeviceScene& DeviceScene::operator=(DeviceScene&&) noexcept = default;

std::int64_t DeviceScene::pieces() const { return std::max(held_->image.pieces(), held_->codes.pieces()); }

void DeviceScene::project(const Views& views, const Outputs& outputs, const ArrayPlace& place,
                          const std::function<bool()>& interrupted) const {
    const CurrentDevice current(held_->device);
    if (place.on_device && views.count > 0) {
        const void* const images_of_views[] = {outputs.line_integral, outputs.background_line_integral};
        for (const void* image : images_of_views)
            if (image) check_device(image, held_->device);
        const void* const of_structures[] = {outputs.path_length, outputs.mask,       outputs.label_line_integral,
                                             outputs.entry_depth, outputs.exit_depth, outputs.box};
        for (const void* images : of_structures)
            // Without a structure there is no memory to ask about.
            if (images && held_->structures > 0) check_device(images, held_->device);
    }
    std::unique_lock<std::mutex> alone(held_->alone, std::defer_lock);
    if (held_->is_cut()) alone.lock();
    std::unique_ptr<Workspace> workspace = held_->take_workspace();
    const cudaStream_t stream = place.on_device ? stream_of(place) : workspace->stream.get();
    // The caller's stream may differ from the one that used the workspace before.
    check(cudaStreamWaitEvent(stream, workspace->done.get(), 0), "wait for a stream");
    held_->project(*workspace, views, outputs, place.on_device, stream, interrupted);
    check(cudaEventRecord(workspace->done.get(), stream), "record an event");
    held_->give_back(std::move(workspace));
}

}  // namespace drrproj
