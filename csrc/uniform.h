// Where a block holds one and the same code in all of its slabs: what a packet meets there needs no walk.
#pragma once

#include <cstdint>

#include "brick.h"
#include "job.h"
#include "lanes.h"

namespace drrproj {
namespace DRRPROJ_ISA {

// The code of each stretch of kStretch columns of each row of a brick, or kMixed.
constexpr int kMixed = -1;
constexpr int kStretch = 8;
static_assert(kBrickFloats / kStretch <= kUniformCodes, "the driver allocates this much");

template <class Code>
void find_uniform(const Box& box, const Code* brick, std::int32_t* codes) {
    constexpr int kPerWord = 8 / static_cast<int>(sizeof(Code)), kWords = kStretch / kPerWord;
    constexpr std::uint64_t kOnes = sizeof(Code) == 1 ? 0x0101010101010101u : 0x0001000100010001u;
    const int words = box.pitch / kPerWord, stretches = box.pitch / kStretch;
    const std::ptrdiff_t slab_size = box.slab_size();
    alignas(64) std::uint64_t first[kMostPitch / kPerWord], differs[kMostPitch / kPerWord];
    for (int row = 0; row < box.rows; ++row, codes += stretches) {
        const Code* const from = brick + static_cast<std::ptrdiff_t>(row) * box.pitch;
        __builtin_memcpy(first, from, static_cast<std::size_t>(words) * sizeof(std::uint64_t));
        for (int i = 0; i < stretches; ++i) {
            const std::uint64_t one = kOnes * from[i * kStretch];
            for (int word = i * kWords; word < (i + 1) * kWords; ++word) differs[word] = first[word] ^ one;
        }
        for (int s = 1; s < box.slabs; ++s) {
            const Code* const slab = from + s * slab_size;
            for (int word = 0; word < words; ++word) {
                std::uint64_t some;
                __builtin_memcpy(&some, slab + word * kPerWord, sizeof(some));
                differs[word] |= some ^ first[word];
            }
        }
        for (int i = 0; i < stretches; ++i) {
            std::uint64_t any = 0;
            for (int word = i * kWords; word < (i + 1) * kWords; ++word) any |= differs[word];
            codes[i] = any ? kMixed : from[i * kStretch];
        }
    }
}

}  // namespace DRRPROJ_ISA
}  // namespace drrproj
