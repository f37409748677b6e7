// Projection on the CPU. No Python.
#pragma once

#include <functional>
#include <memory>

#include "projection.h"

namespace drrproj {

class Shared;

// What projections of one label grid keep for those that follow, of whatever scenes: where it is background, once that
// was looked for, and memory to work in. No bit of a result changes with it.
class LabelCache {
  public:
    LabelCache();
    ~LabelCache();

  private:
    struct Kept;
    std::unique_ptr<Kept> kept_;
    friend void project(const Scene&, const Views&, const Outputs&, int, const std::function<bool()>&, const Shared&);
};

// What projections of one scene share: memory to work in, and where the scene is empty.
class Shared {
  public:
    explicit Shared(std::shared_ptr<LabelCache> labels);
    ~Shared();
    Shared(Shared&&) noexcept;
    Shared& operator=(Shared&&) noexcept;

  private:
    struct Kept;
    std::unique_ptr<Kept> kept_;
    friend void project(const Scene&, const Views&, const Outputs&, int, const std::function<bool()>&, const Shared&);
};

// Project every view; bit-identical for any number of threads. The calling thread asks `interrupted` ten times a
// second, and stops early, with outputs unfinished, when it says true.
void project(const Scene& scene, const Views& views, const Outputs& outputs, int threads,
             const std::function<bool()>& interrupted, const Shared& shared);

}  // namespace drrproj
