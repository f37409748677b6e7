#include "instruction_sets.h"

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

std::string& chosen_instruction_set() {
    static std::string chosen = [] {
        const char* wanted = std::getenv("DRRPROJ_ISA");
        return wanted && *wanted ? std::string(wanted) : instruction_sets().front();
    }();
    return chosen;
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

const InstructionSet& chosen_set() {
    for (const InstructionSet& set : kInstructionSets)
        if (chosen_instruction_set() == set.name && set.runs_here()) return set;
    std::string runnable;
    for (const std::string& name : instruction_sets()) runnable += (runnable.empty() ? "" : ", ") + name;
    throw std::invalid_argument("instruction set '" + chosen_instruction_set() +
                                "' does not run here; there are: " + runnable);
}

}  // namespace drrproj
