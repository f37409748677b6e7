// The few calls of the CUDA runtime that cuda.cu makes, on the host: memory of the "device" is memory of the host, a
// launch is a loop over blocks and threads, and streams do at once what they are told. For tests where no GPU is.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
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
using cudaEvent_t = void*;
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2;

// What the emulated machine has: an error that every look for a device gives, and bytes of memory.
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
inline cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void*) {
    attributes->device = 0;
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
inline cudaError_t cudaFree(void* memory) {
    const std::lock_guard<std::mutex> lock(allocations().door);
    allocations().bytes -= allocations().sizes[memory];
    allocations().sizes.erase(memory);
    std::free(memory);
    return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t) {
    if (!to || !from) return cudaErrorInvalidValue;
    std::memcpy(to, from, bytes);
    return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t) {
    if (!memory) return cudaErrorInvalidValue;
    std::memset(memory, value, bytes);
    return cudaSuccess;
}
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
    *stream = nullptr;
    return cudaSuccess;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
    *event = nullptr;
    return cudaSuccess;
}
inline cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
inline cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }

}  // namespace emulated

using namespace emulated;

// A kernel, block after block and thread after thread.
template <int Threads, class Body>
void start(const Body& body, std::uint32_t blocks, cudaStream_t) {
    for (std::uint32_t block = 0; block < blocks; ++block)
        for (int thread = 0; thread < Threads; ++thread) body(block, thread);
}

}  // namespace drrproj
