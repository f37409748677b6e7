#include "emptiness.h"

#include <algorithm>
#include <cstdlib>
#include <utility>
#include <vector>

namespace drrproj {

void look_into_labels(const Grid& grid, int axis, std::int64_t number, const Cells& cells,
                      std::uint8_t* hold_something) {
    int along = (axis + 1) % 3, across = (axis + 2) % 3;
    if (std::abs(grid.stride[across]) < std::abs(grid.stride[along])) std::swap(along, across);
    const std::int64_t bytes = size_of(grid.type), count = cells.count[along], cell_bytes = kCellVoxels * bytes;
    const std::int64_t size = grid.size[along], stride = grid.stride[along];
    const auto planes = [&](int of, std::int64_t cell, const auto& use) {
        for (std::int64_t i = cell * kCellVoxels; i < std::min(grid.size[of], (cell + 1) * kCellVoxels); ++i) use(i);
    };
    // The bytes of all rows of a cell, one row's beside the other: a voxel is background when its bytes are zeros.
    std::vector<unsigned char> all(static_cast<std::size_t>(count * cell_bytes));
    for (std::int64_t cell = 0; cell < cells.count[across]; ++cell) {
        std::fill(all.begin(), all.end(), static_cast<unsigned char>(0));
        planes(axis, number, [&](std::int64_t plane) {
            planes(across, cell, [&](std::int64_t row) {
                const auto* const first = static_cast<const unsigned char*>(grid.voxels) + plane * grid.stride[axis] +
                                          row * grid.stride[across];
                unsigned char* __restrict const into = all.data();
                if (stride == bytes) {
                    for (std::int64_t i = 0; i < size * bytes; ++i) into[i] |= first[i];
                    return;
                }
                for (std::int64_t i = 0; i < size; ++i)
                    for (std::int64_t byte = 0; byte < bytes; ++byte)
                        into[i * bytes + byte] |= first[i * stride + byte];
            });
        });
        std::int64_t at[3] = {};
        at[axis] = number;
        at[across] = cell;
        for (at[along] = 0; at[along] < count; ++at[along]) {
            const auto from = all.begin() + at[along] * cell_bytes;
            hold_something[(at[0] * cells.count[1] + at[1]) * cells.count[2] + at[2]] =
                std::any_of(from, from + cell_bytes, [](unsigned char byte) { return byte != 0; });
        }
    }
}

}  // namespace drrproj
