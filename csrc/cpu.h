// Projection on the CPU: plans, tiles and threads. No Python.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

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

// Instruction sets that this machine can run, best first.
std::vector<std::string> instruction_sets();

// The one in use: the best, unless DRRPROJ_ISA or a call named another. Both throw std::invalid_argument for a name
// that does not run here.
const std::string& instruction_set();
void use_instruction_set(const std::string& name);

}  // namespace drrproj
