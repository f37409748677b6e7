// Lanes for any processor: eight, in two vectors of the compiler's own.
#pragma once

#include <cstddef>
#include <cstdint>

namespace drrproj {
namespace DRRPROJ_ISA {

// Two vectors of the compiler's own, which it maps to what every processor of today has.
using Floats = float __attribute__((vector_size(16)));
using Integers = std::int32_t __attribute__((vector_size(16)));
using Naturals = std::uint32_t __attribute__((vector_size(16)));

#define DRRPROJ_INLINE inline __attribute__((always_inline))

struct Lanes {
    static constexpr int width = 8;
    Floats x[2];
    Lanes() = default;
    DRRPROJ_INLINE Lanes(Floats low, Floats high) : x{low, high} {}
    DRRPROJ_INLINE explicit Lanes(float value) : x{{value, value, value, value}, {value, value, value, value}} {}
    DRRPROJ_INLINE static Lanes load(const float* from) { return load_anywhere(from); }
    DRRPROJ_INLINE static Lanes load_anywhere(const float* from) {
        Lanes lanes;
        __builtin_memcpy(&lanes.x[0], from, sizeof(lanes.x[0]));
        __builtin_memcpy(&lanes.x[1], from + 4, sizeof(lanes.x[1]));
        return lanes;
    }
    DRRPROJ_INLINE void store(float* to) const { store_anywhere(to); }
    DRRPROJ_INLINE void store_anywhere(float* to) const {
        __builtin_memcpy(to, &x[0], sizeof(x[0]));
        __builtin_memcpy(to + 4, &x[1], sizeof(x[1]));
    }
};
struct Index {
    Integers x[2];
    DRRPROJ_INLINE void store(std::int32_t* to) const {
        __builtin_memcpy(to, &x[0], sizeof(x[0]));
        __builtin_memcpy(to + 4, &x[1], sizeof(x[1]));
    }
};
struct Mask {
    Integers x[2];  // all bits of a lane, or none
};

DRRPROJ_INLINE Lanes operator+(Lanes a, Lanes b) { return {a.x[0] + b.x[0], a.x[1] + b.x[1]}; }
DRRPROJ_INLINE Lanes operator-(Lanes a, Lanes b) { return {a.x[0] - b.x[0], a.x[1] - b.x[1]}; }
DRRPROJ_INLINE Lanes operator*(Lanes a, Lanes b) { return {a.x[0] * b.x[0], a.x[1] * b.x[1]}; }
DRRPROJ_INLINE Lanes operator/(Lanes a, Lanes b) { return {a.x[0] / b.x[0], a.x[1] / b.x[1]}; }
DRRPROJ_INLINE Lanes multiply_add(Lanes a, Lanes b, Lanes c) { return a * b + c; }
DRRPROJ_INLINE Mask less(Lanes a, Lanes b) { return {{a.x[0] < b.x[0], a.x[1] < b.x[1]}}; }
DRRPROJ_INLINE Mask equal(Lanes a, Lanes b) { return {{a.x[0] == b.x[0], a.x[1] == b.x[1]}}; }
DRRPROJ_INLINE Mask positive(Lanes a) { return less(Lanes(0.0f), a); }
DRRPROJ_INLINE Mask operator&(Mask a, Mask b) { return {{a.x[0] & b.x[0], a.x[1] & b.x[1]}}; }
DRRPROJ_INLINE Mask operator|(Mask a, Mask b) { return {{a.x[0] | b.x[0], a.x[1] | b.x[1]}}; }
DRRPROJ_INLINE Mask operator~(Mask a) { return {{~a.x[0], ~a.x[1]}}; }
DRRPROJ_INLINE Lanes choose(Mask mask, Lanes yes, Lanes no) {
    return {mask.x[0] ? yes.x[0] : no.x[0], mask.x[1] ? yes.x[1] : no.x[1]};
}
DRRPROJ_INLINE Index choose(Mask mask, Index yes, Index no) {
    return {{mask.x[0] ? yes.x[0] : no.x[0], mask.x[1] ? yes.x[1] : no.x[1]}};
}
DRRPROJ_INLINE Lanes smaller(Lanes a, Lanes b) { return choose(less(a, b), a, b); }
DRRPROJ_INLINE Lanes larger(Lanes a, Lanes b) { return choose(less(b, a), a, b); }
DRRPROJ_INLINE unsigned bits(Mask mask) {
    unsigned result = 0;
    for (int i = 0; i < 4; ++i) {
        const auto low = static_cast<unsigned>(mask.x[0][i]), high = static_cast<unsigned>(mask.x[1][i]);
        result |= (low & 1u) << i | (high & 1u) << (i + 4);
    }
    return result;
}
DRRPROJ_INLINE Index to_index(Lanes a) {
    return {{__builtin_convertvector(a.x[0], Integers), __builtin_convertvector(a.x[1], Integers)}};
}
DRRPROJ_INLINE Lanes to_lanes(Index a) {
    return {__builtin_convertvector(a.x[0], Floats), __builtin_convertvector(a.x[1], Floats)};
}
DRRPROJ_INLINE Lanes floor(Lanes a) {
    const Lanes toward_zero = to_lanes(to_index(a));
    return choose(less(a, toward_zero), toward_zero - Lanes(1.0f), toward_zero);
}
DRRPROJ_INLINE Index bits_of(Lanes a) {
    return {{reinterpret_cast<Integers>(a.x[0]), reinterpret_cast<Integers>(a.x[1])}};
}
DRRPROJ_INLINE Integers sum_of(Integers a, Integers b) {
    return reinterpret_cast<Integers>(reinterpret_cast<Naturals>(a) + reinterpret_cast<Naturals>(b));
}
DRRPROJ_INLINE Index operator+(Index a, Index b) { return {{sum_of(a.x[0], b.x[0]), sum_of(a.x[1], b.x[1])}}; }
DRRPROJ_INLINE Index shifted(Index a, int by) {
    const auto natural = static_cast<unsigned>(by);
    return {{reinterpret_cast<Integers>(reinterpret_cast<Naturals>(a.x[0]) << natural),
             reinterpret_cast<Integers>(reinterpret_cast<Naturals>(a.x[1]) << natural)}};
}
DRRPROJ_INLINE Lanes as_lanes(Index a) { return {reinterpret_cast<Floats>(a.x[0]), reinterpret_cast<Floats>(a.x[1])}; }
DRRPROJ_INLINE Index broadcast(int a) { return {{Integers{a, a, a, a}, Integers{a, a, a, a}}}; }
DRRPROJ_INLINE Mask equal(Index a, Index b) { return {{a.x[0] == b.x[0], a.x[1] == b.x[1]}}; }
DRRPROJ_INLINE Index either(Index a, Index b) { return {{a.x[0] | b.x[0], a.x[1] | b.x[1]}}; }
DRRPROJ_INLINE bool any_nonzero(Index a) { return bits(~equal(a, broadcast(0))) != 0; }
DRRPROJ_INLINE Index load_bits(const char* from) {
    Index loaded;
    __builtin_memcpy(&loaded, from, sizeof(loaded));
    return loaded;
}
DRRPROJ_INLINE std::int32_t load_voxel(const float* from) {
    std::int32_t voxel;
    __builtin_memcpy(&voxel, from, sizeof(voxel));
    return voxel;
}
DRRPROJ_INLINE std::int32_t load_voxel(const std::uint8_t* from) { return *from; }
DRRPROJ_INLINE std::int32_t load_voxel(const std::uint16_t* from) { return *from; }
template <class Voxel>
DRRPROJ_INLINE Index load_voxels(const Voxel* from) {
    Index voxels;
    for (int i = 0; i < 4; ++i) {
        voxels.x[0][i] = load_voxel(from + i);
        voxels.x[1][i] = load_voxel(from + i + 4);
    }
    return voxels;
}
template <class Code>
DRRPROJ_INLINE void store_voxels(Code* to, Index a) {
    for (int i = 0; i < 4; ++i) {
        to[i] = static_cast<Code>(a.x[0][i]);
        to[i + 4] = static_cast<Code>(a.x[1][i]);
    }
}
template <class Voxel>
DRRPROJ_INLINE Integers gather(const Voxel* from, Integers i) {
    return Integers{load_voxel(from + i[0]), load_voxel(from + i[1]), load_voxel(from + i[2]), load_voxel(from + i[3])};
}
template <class Voxel>
DRRPROJ_INLINE Index gather(const Voxel* from, Index i) {
    return {{gather(from, i.x[0]), gather(from, i.x[1])}};
}
template <class Voxel>
DRRPROJ_INLINE Index window(const Voxel* from, Index i) {
    constexpr int kLast = 2 * Lanes::width - 1;
    return gather(from, Index{{i.x[0] & kLast, i.x[1] & kLast}});
}
// Sums of pairs of neighbouring voxels, each lane's own; a pair takes one read of 64 bits.
constexpr bool kHasPairs = true;
class PairSum {
  public:
    // Add to each lane `first` times the voxel at `i` and `second` times the one behind it.
    DRRPROJ_INLINE void add(const float* from, Index i, Lanes first, Lanes second) {
        for (int half = 0; half < 2; ++half) {
            const Floats a = first.x[half], b = second.x[half];
            const Integers at = i.x[half];
            sums_[2 * half] += two(from + at[0], from + at[1]) * Floats{a[0], b[0], a[1], b[1]};
            sums_[2 * half + 1] += two(from + at[2], from + at[3]) * Floats{a[2], b[2], a[3], b[3]};
        }
    }
    DRRPROJ_INLINE Lanes total() const { return {total_of(sums_[0], sums_[1]), total_of(sums_[2], sums_[3])}; }

  private:
    DRRPROJ_INLINE static Floats two(const float* lower, const float* upper) {
        double pairs[2];
        __builtin_memcpy(&pairs[0], lower, sizeof(double));
        __builtin_memcpy(&pairs[1], upper, sizeof(double));
        Floats both;
        __builtin_memcpy(&both, pairs, sizeof(both));
        return both;
    }
    DRRPROJ_INLINE static Floats total_of(Floats a, Floats b) {
        return Floats{a[0], a[2], b[0], b[2]} + Floats{a[1], a[3], b[1], b[3]};
    }

    Floats sums_[4] = {};
};
DRRPROJ_INLINE Lanes reversed(Lanes a) {
    return {Floats{a.x[1][3], a.x[1][2], a.x[1][1], a.x[1][0]}, Floats{a.x[0][3], a.x[0][2], a.x[0][1], a.x[0][0]}};
}
template <class Put>
inline void transpose(const float* from, std::ptrdiff_t stride, Put put) {
    for (int j = 0; j < Lanes::width; ++j) {
        const float* at = from + j;
        put(j, Lanes(Floats{at[0], at[stride], at[2 * stride], at[3 * stride]},
                     Floats{at[4 * stride], at[5 * stride], at[6 * stride], at[7 * stride]}));
    }
}

}  // namespace DRRPROJ_ISA
}  // namespace drrproj
