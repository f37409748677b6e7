// What the threads of a projection work in, kept for the next one.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "cpu.h"
#include "job.h"

namespace drrproj {

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

}  // namespace drrproj
