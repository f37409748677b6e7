// The types of number that voxels have, and the codes that stand for label values.
#pragma once

#include <cstdint>

#include "projection.h"
#include "walk.h"

namespace drrproj {
namespace DRRPROJ_ISA {

// Call `use` with a number of this type.
template <class Use>
DRRPROJ_HOST_DEVICE inline auto with_number(NumberType type, const Use& use) {
    switch (type) {
        case NumberType::int8:
            return use(std::int8_t{});
        case NumberType::uint8:
            return use(std::uint8_t{});
        case NumberType::int16:
            return use(std::int16_t{});
        case NumberType::uint16:
            return use(std::uint16_t{});
        case NumberType::int32:
            return use(std::int32_t{});
        case NumberType::uint32:
            return use(std::uint32_t{});
        case NumberType::int64:
            return use(std::int64_t{});
        case NumberType::uint64:
            return use(std::uint64_t{});
        case NumberType::float32:
            return use(float{});
        default:
            return use(double{});
    }
}

// 1 + the index of a value, 0 for any other; `values` ascend.
DRRPROJ_HOST_DEVICE inline std::int64_t code_of(const std::int64_t* values, std::int64_t count, std::int64_t value) {
    std::int64_t low = 0, high = count;
    while (low < high) {
        const std::int64_t middle = (low + high) / 2;
        if (values[middle] < value)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && values[low] == value ? low + 1 : 0;
}

}  // namespace DRRPROJ_ISA
}  // namespace drrproj
