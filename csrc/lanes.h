// A packet of float lanes: one ray per lane. One type, three ways to compile it.
//
// Besides arithmetic it has the ways to read voxels: `load_anywhere` reads neighbours in their order, `Windows` and
// `window` pick from 2 * width neighbours and `Patch` from some rows of a few, with in-register permutes, `gather` and
// `PairSum` read each lane's own address, and `spread` hands out what was read for some lanes alone. Voxels are floats,
// or codes of labels: numbers of 8 or 16 bits. What is read of either is an Index, the bits of a float or the code.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__AVX512F__)
#include "lanes_avx512.h"
#elif defined(__AVX2__)
#include "lanes_avx2.h"
#else
#include "lanes_portable.h"
#endif
#include "walk.h"

namespace drrproj {
namespace DRRPROJ_ISA {

// Numbers that no instruction above reads.
template <class Number>
inline Lanes load_numbers(const Number* from) {
    alignas(64) float values[Lanes::width];
    for (int i = 0; i < Lanes::width; ++i) values[i] = static_cast<float>(from[i]);
    return Lanes::load(values);
}

inline void store_voxels(float* to, Index a) { as_lanes(a).store_anywhere(to); }

// Do `Count` codes hold nothing but this one?
template <int Count, class Code>
inline bool all_are(const Code* from, int code) {
    constexpr int kBytes = Count * static_cast<int>(sizeof(Code));
    const std::uint64_t ones = sizeof(Code) == 1 ? 0x0101010101010101u : 0x0001000100010001u;
    const std::uint64_t pattern = ones * static_cast<std::uint64_t>(code);
    std::uint64_t differs = 0;
    for (int i = 0; i < kBytes; i += 8) {
        std::uint64_t eight;
        __builtin_memcpy(&eight, reinterpret_cast<const char*>(from) + i, sizeof(eight));
        differs |= eight ^ pattern;
    }
    return differs == 0;
}

#if !defined(__AVX512F__)
// Without an instruction for it packing takes longer than reading for all lanes.
constexpr bool kPacks = false;
inline int pack(Mask, std::int64_t*) { return Lanes::width; }
inline int packed(Mask) { return Lanes::width; }
inline Lanes spread(Mask mask, Lanes packed) { return choose(mask, packed, Lanes(0.0f)); }

template <class Voxel>
class Windows {
  public:
    explicit Windows(const Voxel* from) : from_(from) {}
    Index at(Index i) const { return window(from_, i); }

  private:
    const Voxel* from_;
};

// A window takes two permutes of several steps each, or none at all.
constexpr bool kWindowsAreFast = false;

// With fewer permutes a patch takes longer than a gather.
constexpr bool kHasPatches = false;
template <int Registers>
struct Patch {
    template <class Voxel>
    Patch(const Voxel*, std::ptrdiff_t, int) {}
    Index pick(Index) const { return broadcast(0); }
};

// Do the codes from `first` to `last`, of two registers of lanes, hold nothing but this one?
template <class Code>
inline bool all_are(const Code* from, int code, int first, int last) {
    // Some of the codes before and behind as well: where they differ, the walk finds that no ray meets them.
    return (first >= Lanes::width || all_are<Lanes::width>(from, code)) &&
           (last < Lanes::width || all_are<Lanes::width>(from + Lanes::width, code));
}
#endif

// Floats of a register, as a power of two.
constexpr int kRegisterShift = Lanes::width == 16 ? 4 : 3;

// Bits of a mask in which every lane is set.
constexpr unsigned all_lanes = (1u << Lanes::width) - 1u;

}  // namespace DRRPROJ_ISA
}  // namespace drrproj
