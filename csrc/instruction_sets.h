// The instruction sets that the tile walk was compiled for, and which of them is used.
#pragma once

#include <string>
#include <vector>

#include "job.h"

namespace drrproj {

struct InstructionSet {
    const char* name;
    TraceTile trace_tile;
    LookIntoImage look_into_image;
    int lanes;
    bool (*runs_here)();
};

// Instruction sets that this machine can run, best first.
std::vector<std::string> instruction_sets();

// The one in use: the best, unless DRRPROJ_ISA or a call named another. Both throw std::invalid_argument for a name
// that does not run here. Any thread may call them at any time; what is under way goes on with the set it looked up.
void use_instruction_set(const std::string& name);
const InstructionSet& chosen_set();

}  // namespace drrproj
