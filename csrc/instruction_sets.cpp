#include "instruction_sets.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

namespace drrproj {
namespace {

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

// Null until it is first asked for. Another thread may choose anew while one, without Python's lock, looks it up.
std::atomic<const InstructionSet*> chosen{nullptr};

const InstructionSet& set_named(const std::string& name) {
    for (const InstructionSet& set : kInstructionSets)
        if (name == set.name && set.runs_here()) return set;
    std::string runnable;
    for (const std::string& known : instruction_sets()) runnable += (runnable.empty() ? "" : ", ") + known;
    throw std::invalid_argument("instruction set '" + name + "' does not run here; there are: " + runnable);
}

const InstructionSet& first_choice() {
    static const std::string wanted = [] {
        const char* given = std::getenv("DRRPROJ_ISA");
        return given && *given ? std::string(given) : instruction_sets().front();
    }();
    return set_named(wanted);
}

}  // namespace

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const InstructionSet& set : kInstructionSets)
        if (set.runs_here()) names.emplace_back(set.name);
    return names;
}

void use_instruction_set(const std::string& name) { chosen = &set_named(name); }

const InstructionSet& chosen_set() {
    const InstructionSet* set = chosen;
    if (!set) {
        const InstructionSet* first = &first_choice();
        // Null still, or what was chosen meanwhile.
        set = chosen.compare_exchange_strong(set, first) ? first : set;
    }
    return *set;
}

}  // namespace drrproj
