// From the world to the index space of a grid, where voxel i covers [i, i + 1).
#pragma once

#include <algorithm>

#include "projection.h"

namespace drrproj {

// A column of a view's matrix, a point or a direction.
inline void to_index_space(const Grid& grid, const double* view, int column, double result[3]) {
    const double weight = view[12 + column];
    for (int axis = 0; axis < 3; ++axis) {
        const double* const row = grid.voxel_from_world + 4 * axis;
        result[axis] =
            row[0] * view[column] + row[1] * view[4 + column] + row[2] * view[8 + column] + (row[3] + 0.5) * weight;
    }
}

// |world d|^2 of an index-space d: xx, yy, zz, 2xy, 2xz, 2yz.
inline void metric_of(const Grid& grid, double metric[6]) {
    const double* const m = grid.world_from_voxel;
    const auto dot = [&](int a, int b) { return m[a] * m[b] + m[4 + a] * m[4 + b] + m[8 + a] * m[8 + b]; };
    const double products[6] = {dot(0, 0), dot(1, 1), dot(2, 2), 2 * dot(0, 1), 2 * dot(0, 2), 2 * dot(1, 2)};
    std::copy(products, products + 6, metric);
}

inline bool same_place(const Grid& a, const Grid& b) {
    return std::equal(a.size, a.size + 3, b.size) &&
           std::equal(a.world_from_voxel, a.world_from_voxel + 16, b.world_from_voxel);
}

}  // namespace drrproj
