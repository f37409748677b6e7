// Where labels are nothing but background, in cubes of kCellVoxels^3 voxels.
#pragma once

#include <cstdint>

#include "job.h"

namespace drrproj {

// Mark those of the cells that hold any label and have this number along `axis`, the one with the widest stride.
void look_into_labels(const Grid& grid, int axis, std::int64_t number, const Cells& cells,
                      std::uint8_t* hold_something);

}  // namespace drrproj
