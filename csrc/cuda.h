// Projection on an NVIDIA GPU: volumes in its memory, launches, errors as exceptions. No Python, and no CUDA headers.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>

#include "projection.h"

namespace drrproj {

// What this machine lacks to project on a GPU, in one sentence; none when it can.
std::optional<std::string> why_no_gpu();

// The memory of a GPU that does not hold what is asked of it.
class DeviceMemoryError : public std::bad_alloc {
  public:
    explicit DeviceMemoryError(std::string message) : message_(std::move(message)) {}
    const char* what() const noexcept override { return message_.c_str(); }

  private:
    std::string message_;
};

// Where the caller's arrays are: in the host's memory, or on a GPU, made and read on a stream of it.
struct ArrayPlace {
    bool on_device;
    std::uintptr_t stream;  // cudaStream_t as a number; 1 and 2 are the legacy and the per-thread default
};

// A scene in the memory of a GPU: of the one that its arrays are on, or that is current. Several threads may project
// one at once.
class DeviceScene {
  public:
    // Copies the voxels; from the host they have been read when it returns. Where they do not fit, they are walked in
    // pieces, and every projection reads them again.
    DeviceScene(const Scene& scene, const ArrayPlace& place);
    ~DeviceScene();
    DeviceScene(DeviceScene&&) noexcept;
    DeviceScene& operator=(DeviceScene&&) noexcept;

    // How many pieces the voxels are walked in; with one, the caller's are not needed any more.
    std::int64_t pieces() const;

    // Project every view. Outputs on the host are there when it returns; those on the device when the stream is done
    // with them. `interrupted` is asked now and then; when it says true, outputs stay unfinished.
    void project(const Views& views, const Outputs& outputs, const ArrayPlace& place,
                 const std::function<bool()>& interrupted) const;

  private:
    struct Held;
    std::unique_ptr<Held> held_;
};

}  // namespace drrproj
