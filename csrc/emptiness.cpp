#include "emptiness.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace drrproj {

void look_into_labels(const Grid& grid, int axis, std::int64_t number, const Cells& cells,
                      std::uint8_t* hold_something) {
    int along = (axis + 1) % 3, across = (axis + 2) % 3;
    if (std::abs(grid.stride[across]) < std::abs(grid.stride[along])) std::swap(along, across);
    const std::int64_t bytes = size_of(grid.type), cell_bytes = kCellVoxels * bytes, stride = grid.stride[along];
    const auto planes = [&](int of, std::int64_t cell, const auto& use) {
        for (std::int64_t i = cell * kCellVoxels; i < std::min(grid.size[of], (cell + 1) * kCellVoxels); ++i) use(i);
    };
    // The bytes of all rows of some cells, one row's beside the other: a voxel is background when its bytes are zeros.
    constexpr std::int64_t kMostCells = 64;
    unsigned char all[kMostCells * kCellVoxels * sizeof(std::int64_t)];
    std::int64_t at[3] = {};
    at[axis] = number;
    for (at[across] = 0; at[across] < cells.count[across]; ++at[across]) {
        for (std::int64_t first_cell = 0; first_cell < cells.count[along]; first_cell += kMostCells) {
            const std::int64_t end_cell = std::min(first_cell + kMostCells, cells.count[along]);
            const std::int64_t first_voxel = first_cell * kCellVoxels;
            const std::int64_t size = std::min(end_cell * kCellVoxels, grid.size[along]) - first_voxel;
            std::fill(all, all + (end_cell - first_cell) * cell_bytes, static_cast<unsigned char>(0));
            planes(axis, number, [&](std::int64_t plane) {
                planes(across, at[across], [&](std::int64_t row) {
                    const auto* const first = static_cast<const unsigned char*>(grid.voxels) +
                                              plane * grid.stride[axis] + row * grid.stride[across] +
                                              first_voxel * stride;
                    if (stride == bytes) {
                        for (std::int64_t i = 0; i < size * bytes; ++i) all[i] |= first[i];
                        return;
                    }
                    for (std::int64_t i = 0; i < size; ++i)
                        for (std::int64_t byte = 0; byte < bytes; ++byte)
                            all[i * bytes + byte] |= first[i * stride + byte];
                });
            });
            for (at[along] = first_cell; at[along] < end_cell; ++at[along]) {
                const unsigned char* const from = all + (at[along] - first_cell) * cell_bytes;
                hold_something[(at[0] * cells.count[1] + at[1]) * cells.count[2] + at[2]] =
                    std::any_of(from, from + cell_bytes, [](unsigned char byte) { return byte != 0; });
            }
        }
    }
}

}  // namespace drrproj
