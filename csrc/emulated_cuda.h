// The few calls of the CUDA runtime that cuda.cu makes, on the host: memory of the "device" is memory of the host, and
// a launch is a loop over blocks and threads. Streams do at once what they are told, or, to show what is read or
// written too late, when somebody waits for them. For tests where no GPU is.
#pragma once

#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>

namespace drrproj {
namespace emulated {

enum cudaError_t {
    cudaSuccess,
    cudaErrorInvalidValue,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInsufficientDriver = 35,
    cudaErrorNoDevice = 100
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
using cudaStream_t = void*;
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2;

// What the emulated machine has: an error that every look for a device gives, bytes of memory, an address that is on a
// second GPU, a launch at which somebody presses Ctrl-C, and whether its streams defer their work.
inline std::int64_t setting(const char* name, std::int64_t otherwise) {
    const char* const value = std::getenv(name);
    return value && *value ? std::atoll(value) : otherwise;
}
inline std::size_t total_bytes() {
    return static_cast<std::size_t>(setting("DRRPROJ_EMULATED_BYTES", std::int64_t{1} << 40));
}

struct Allocations {
    std::mutex door;
    std::map<void*, std::size_t> sizes;
    std::size_t bytes = 0;
};
inline Allocations& allocations() {
    static Allocations all;
    return all;
}

// What streams have been told and not done. CUDA does it at any time from then on: here as late as it may, and among
// streams that do not wait for each other the latest first.
class Streams {
  public:
    // Work that reads memory of the host, or writes to it, does so in its turn: the strictest reading of CUDA.
    template <class Work>
    void tell(cudaStream_t stream, const Work& work) {
        {
            const std::lock_guard<std::recursive_mutex> lock(door_);
            const auto queue = queues_.find(stream);
            const bool waits = queue != queues_.end() && queue->second.done < queue->second.told;
            if (waits || setting("DRRPROJ_EMULATED_DEFERRED", 0)) {
                Queue& told = queues_[stream];
                ++told.told;
                told.work.emplace_back(work);
                return;
            }
        }
        work();
    }
    std::int64_t told(cudaStream_t stream) {
        const std::lock_guard<std::recursive_mutex> lock(door_);
        return queues_[stream].told;
    }
    void finish(cudaStream_t stream, std::int64_t count) {
        const std::lock_guard<std::recursive_mutex> lock(door_);
        Queue& queue = queues_[stream];
        while (queue.done < count) {
            const std::function<void()> work = std::move(queue.work.front());
            queue.work.pop_front();
            ++queue.done;
            work();
        }
    }
    void finish(cudaStream_t stream) {
        const std::lock_guard<std::recursive_mutex> lock(door_);
        finish(stream, queues_[stream].told);
    }
    void finish_all() {
        const std::lock_guard<std::recursive_mutex> lock(door_);
        for (auto queue = queues_.rbegin(); queue != queues_.rend(); ++queue) finish(queue->first, queue->second.told);
    }

  private:
    struct Queue {
        std::deque<std::function<void()>> work;
        std::int64_t told = 0, done = 0;
    };
    std::recursive_mutex door_;
    std::map<cudaStream_t, Queue> queues_;
};
inline Streams& streams() {
    static Streams all;
    return all;
}

// The work of a stream up to where the event was recorded.
struct Recorded {
    cudaStream_t stream = nullptr;
    std::int64_t count = 0;
};
using cudaEvent_t = Recorded*;

inline const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaErrorMemoryAllocation ? "out of memory" : "an error of the emulator";
}
inline cudaError_t cudaGetDeviceCount(int* count) {
    *count = 1;
    return static_cast<cudaError_t>(setting("DRRPROJ_EMULATED_ERROR", 0));
}
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) {
    *device = 0;
    return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
struct cudaPointerAttributes {
    int device;
};
inline cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* memory) {
    const auto elsewhere = static_cast<std::uintptr_t>(setting("DRRPROJ_EMULATED_OTHER_GPU", 0));
    attributes->device = reinterpret_cast<std::uintptr_t>(memory) == elsewhere ? 1 : 0;
    return cudaSuccess;
}
inline cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
    const std::lock_guard<std::mutex> lock(allocations().door);
    *total = total_bytes();
    *free = *total > allocations().bytes ? *total - allocations().bytes : 0;
    return cudaSuccess;
}
inline cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
    const std::lock_guard<std::mutex> lock(allocations().door);
    *memory = allocations().bytes + bytes > total_bytes() ? nullptr : std::malloc(bytes);
    if (!*memory) return cudaErrorMemoryAllocation;
    // Bits of a NaN: what nobody has written shows.
    std::memset(*memory, 0xFF, bytes);
    allocations().sizes[*memory] = bytes;
    allocations().bytes += bytes;
    return cudaSuccess;
}
// Waits for all streams first, as CUDA's does.
inline cudaError_t cudaFree(void* memory) {
    streams().finish_all();
    const std::lock_guard<std::mutex> lock(allocations().door);
    const std::size_t bytes = allocations().sizes[memory];
    // What is read all the same shows.
    if (bytes > 0) std::memset(memory, 0xFF, bytes);
    allocations().bytes -= bytes;
    allocations().sizes.erase(memory);
    std::free(memory);
    return cudaSuccess;
}
inline std::atomic<std::int64_t>& launches() {
    static std::atomic<std::int64_t> count{0};
    return count;
}
inline std::atomic<std::int64_t>& copied_bytes() {
    static std::atomic<std::int64_t> bytes{0};
    return bytes;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
    if (!to || !from) return cudaErrorInvalidValue;
    copied_bytes() += static_cast<std::int64_t>(bytes);
    streams().tell(stream, [=] { std::memcpy(to, from, bytes); });
    return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream) {
    if (!memory) return cudaErrorInvalidValue;
    streams().tell(stream, [=] { std::memset(memory, value, bytes); });
    return cudaSuccess;
}
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
    // Handles that no caller has.
    static std::atomic<std::uintptr_t> next{std::uintptr_t{1} << 48};
    *stream = reinterpret_cast<cudaStream_t>(next++);
    return cudaSuccess;
}
// What a stream was told is still done.
inline cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    streams().finish(stream);
    return cudaSuccess;
}
inline cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    streams().tell(stream, [recorded = *event] { streams().finish(recorded.stream, recorded.count); });
    return cudaSuccess;
}
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
    *event = new Recorded;
    return cudaSuccess;
}
inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    *event = {stream, streams().told(stream)};
    return cudaSuccess;
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    streams().finish(event->stream, event->count);
    return cudaSuccess;
}
inline cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    return cudaSuccess;
}

}  // namespace emulated

using namespace emulated;

// A kernel, block after block and thread after thread.
template <int Threads, class Body>
void start(const Body& body, std::uint32_t blocks, cudaStream_t stream) {
    if (launches()++ == setting("DRRPROJ_EMULATED_INTERRUPTED_AT", -1)) std::raise(SIGINT);
    streams().tell(stream, [=] {
        for (std::uint32_t block = 0; block < blocks; ++block)
            for (int thread = 0; thread < Threads; ++thread) body(block, thread);
    });
}

}  // namespace drrproj
