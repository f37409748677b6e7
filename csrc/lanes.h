// A packet of float lanes: one ray per lane. One type, three ways to compile it.
//
// Besides arithmetic it has the four ways to read voxels: `window` picks from 2 * width neighbours and `Patch` from
// some rows of a few, both with in-register permutes; `gather` and `PairSum` read each lane's own address. Voxels are
// floats, or codes of labels: numbers of 8 or 16 bits. What is read of either is an Index, the bits of a float or the
// code.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#include "walk.h"

namespace drrproj {
namespace DRRPROJ_ISA {

#if defined(__AVX512F__)

struct Lanes {
    static constexpr int width = 16;
    __m512 x;
    Lanes() = default;
    Lanes(__m512 value) : x(value) {}
    explicit Lanes(float value) : x(_mm512_set1_ps(value)) {}
    static Lanes load(const float* from) { return _mm512_load_ps(from); }
    static Lanes load_anywhere(const float* from) { return _mm512_loadu_ps(from); }
    void store(float* to) const { _mm512_store_ps(to, x); }
    void store_anywhere(float* to) const { _mm512_storeu_ps(to, x); }
};
struct Index {
    __m512i x;
    void store(std::int32_t* to) const { _mm512_store_si512(to, x); }
};
struct Mask {
    __mmask16 x;
};

inline Lanes operator+(Lanes a, Lanes b) { return _mm512_add_ps(a.x, b.x); }
inline Lanes operator-(Lanes a, Lanes b) { return _mm512_sub_ps(a.x, b.x); }
inline Lanes operator*(Lanes a, Lanes b) { return _mm512_mul_ps(a.x, b.x); }
inline Lanes operator/(Lanes a, Lanes b) { return _mm512_div_ps(a.x, b.x); }
inline Lanes multiply_add(Lanes a, Lanes b, Lanes c) { return _mm512_fmadd_ps(a.x, b.x, c.x); }
inline Lanes smaller(Lanes a, Lanes b) { return _mm512_min_ps(a.x, b.x); }
inline Lanes larger(Lanes a, Lanes b) { return _mm512_max_ps(a.x, b.x); }
inline Lanes floor(Lanes a) { return _mm512_roundscale_ps(a.x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
inline Mask equal(Lanes a, Lanes b) { return {_mm512_cmp_ps_mask(a.x, b.x, _CMP_EQ_OQ)}; }
inline Mask less(Lanes a, Lanes b) { return {_mm512_cmp_ps_mask(a.x, b.x, _CMP_LT_OQ)}; }
inline Mask positive(Lanes a) { return {_mm512_cmp_ps_mask(a.x, _mm512_setzero_ps(), _CMP_GT_OQ)}; }
inline Mask operator&(Mask a, Mask b) { return {_kand_mask16(a.x, b.x)}; }
inline Mask operator|(Mask a, Mask b) { return {_kor_mask16(a.x, b.x)}; }
inline Mask operator~(Mask a) { return {_knot_mask16(a.x)}; }
inline Lanes choose(Mask mask, Lanes yes, Lanes no) { return _mm512_mask_blend_ps(mask.x, no.x, yes.x); }
inline unsigned bits(Mask mask) { return mask.x; }
inline Index to_index(Lanes a) { return {_mm512_cvtps_epi32(a.x)}; }
inline Lanes to_lanes(Index a) { return _mm512_cvtepi32_ps(a.x); }
inline Index bits_of(Lanes a) { return {_mm512_castps_si512(a.x)}; }
inline Index shifted(Index a, int by) { return {_mm512_sll_epi32(a.x, _mm_cvtsi32_si128(by))}; }
inline Index choose(Mask mask, Index yes, Index no) { return {_mm512_mask_blend_epi32(mask.x, no.x, yes.x)}; }
inline Index operator+(Index a, Index b) { return {_mm512_add_epi32(a.x, b.x)}; }
inline Lanes as_lanes(Index a) { return _mm512_castsi512_ps(a.x); }
inline Index broadcast(int a) { return {_mm512_set1_epi32(a)}; }
inline Mask equal(Index a, Index b) { return {_mm512_cmpeq_epi32_mask(a.x, b.x)}; }
inline Index either(Index a, Index b) { return {_mm512_or_si512(a.x, b.x)}; }
inline bool any_nonzero(Index a) { return _mm512_test_epi32_mask(a.x, a.x) != 0; }

inline Index load_voxels(const float* from) { return {_mm512_loadu_si512(from)}; }
inline Index load_voxels(const std::uint8_t* from) {
    return {_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)))};
}
inline Index load_voxels(const std::uint16_t* from) {
    return {_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)))};
}
inline void store_voxels(std::uint8_t* to, Index a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(a.x));
}
inline void store_voxels(std::uint16_t* to, Index a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(a.x));
}
constexpr bool kWindowsAreFast = true;
template <class Voxel>
inline Index window(const Voxel* from, Index i) {
    return {_mm512_permutex2var_epi32(load_voxels(from).x, i.x, load_voxels(from + 16).x)};
}
// Some windows of the same voxels, which are read once: compilers would read them again for each, and reading is what
// the walk of upright views waits for.
template <class Voxel>
class Windows {
  public:
    explicit Windows(const Voxel* from) : low_(held(load_voxels(from).x)), high_(held(load_voxels(from + 16).x)) {}
    Index at(Index i) const { return {_mm512_permutex2var_epi32(low_, i.x, high_)}; }

  private:
    static __m512i held(__m512i read) {
        asm("" : "+v"(read));
        return read;
    }
    __m512i low_, high_;
};
inline Index gather(const float* from, Index i) { return {_mm512_i32gather_epi32(i.x, from, 4)}; }
// Each lane reads 32 bits and keeps its own.
inline Index gather(const std::uint8_t* from, Index i) {
    return {_mm512_and_si512(_mm512_i32gather_epi32(i.x, from, 1), _mm512_set1_epi32(0xff))};
}
inline Index gather(const std::uint16_t* from, Index i) {
    return {_mm512_and_si512(_mm512_i32gather_epi32(i.x, from, 2), _mm512_set1_epi32(0xffff))};
}

// Patches leave little for pairs to gain.
constexpr bool kHasPairs = false;
struct PairSum {
    void add(const float*, Index, Lanes, Lanes) {}
    Lanes total() const { return Lanes(0.0f); }
};

// Registers of neighbouring voxels; the lowest bits of an index say which voxel of which register.
constexpr bool kHasPatches = true;
template <int Registers>
struct Patch {
    __m512i x[Registers];
    // Rows of `per_row` registers, `pitch` voxels apart.
    template <class Voxel>
    Patch(const Voxel* from, std::ptrdiff_t pitch, int per_row) {
        for (int i = 0; i < Registers; ++i) x[i] = load_voxels(from + i / per_row * pitch + i % per_row * 16).x;
    }
    Index pick(Index i) const {
        if constexpr (Registers <= 8) return {pick_of<Registers>(0, i)};
        return {choose(128, i, pick_of<4>(8 % Registers, i), pick_of<8>(0, i))};
    }

  private:
    // One where a bit of the index is set, else the other.
    static __m512i choose(int bit, Index i, __m512i set, __m512i clear) {
        return _mm512_mask_blend_epi32(_mm512_test_epi32_mask(i.x, _mm512_set1_epi32(bit)), clear, set);
    }
    // Of `Count` registers from the first on.
    template <int Count>
    __m512i pick_of(int first, Index i) const {
        if constexpr (Count == 2) return _mm512_permutex2var_epi32(x[first], i.x, x[first + 1]);
        if constexpr (Count == 4) return choose(32, i, pick_of<2>(first + 2, i), pick_of<2>(first, i));
        if constexpr (Count > 4) return choose(64, i, pick_of<Count - 4>(first + 4, i), pick_of<4>(first, i));
    }
};
// What some lanes have, one after the other: packed by their number, and spread over them again.
constexpr bool kPacks = true;
inline int pack(Mask mask, std::int64_t* numbers) {
    const unsigned low = mask.x & 0xffu, high = mask.x >> 8;
    const __m512i first = _mm512_loadu_si512(numbers), last = _mm512_loadu_si512(numbers + 8);
    _mm512_storeu_si512(numbers, _mm512_maskz_compress_epi64(static_cast<__mmask8>(low), first));
    _mm512_storeu_si512(numbers + __builtin_popcount(low),
                        _mm512_maskz_compress_epi64(static_cast<__mmask8>(high), last));
    return __builtin_popcount(mask.x);
}
inline int packed(Mask mask) { return __builtin_popcount(mask.x); }
inline Lanes spread(Mask mask, Lanes packed) { return _mm512_maskz_expand_ps(mask.x, packed.x); }
inline Lanes load_numbers(const float* from) { return _mm512_loadu_ps(from); }
inline Lanes load_numbers(const std::int32_t* from) { return _mm512_cvtepi32_ps(_mm512_loadu_si512(from)); }
inline Lanes load_numbers(const std::int16_t* from) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
}
inline Lanes load_numbers(const std::uint16_t* from) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
}
inline Lanes load_numbers(const std::uint8_t* from) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}
inline Lanes reversed(Lanes a) {
    const __m512i order = _mm512_set_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_permutexvar_ps(order, a.x);
}
// Column j of 16 rows `stride` floats apart goes to `put(j, column)`. Quarters of rows are placed while they are
// loaded, which leaves the shuffles half the work.
template <class Put>
inline void transpose(const float* from, std::ptrdiff_t stride, Put put) {
    for (int quarter = 0; quarter < 4; ++quarter) {
        const auto rows_at = [&](int row) {
            const float* at = from + row * stride + 4 * quarter;
            __m512 rows = _mm512_castps128_ps512(_mm_loadu_ps(at));
            rows = _mm512_mask_broadcast_f32x4(rows, 0x00f0, _mm_loadu_ps(at + 4 * stride));
            rows = _mm512_mask_broadcast_f32x4(rows, 0x0f00, _mm_loadu_ps(at + 8 * stride));
            return _mm512_mask_broadcast_f32x4(rows, 0xf000, _mm_loadu_ps(at + 12 * stride));
        };
        const __m512 a = rows_at(0), b = rows_at(1), c = rows_at(2), d = rows_at(3);
        const __m512d low_ab = _mm512_castps_pd(_mm512_unpacklo_ps(a, b));
        const __m512d low_cd = _mm512_castps_pd(_mm512_unpacklo_ps(c, d));
        const __m512d high_ab = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
        const __m512d high_cd = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
        put(4 * quarter, Lanes(_mm512_castpd_ps(_mm512_unpacklo_pd(low_ab, low_cd))));
        put(4 * quarter + 1, Lanes(_mm512_castpd_ps(_mm512_unpackhi_pd(low_ab, low_cd))));
        put(4 * quarter + 2, Lanes(_mm512_castpd_ps(_mm512_unpacklo_pd(high_ab, high_cd))));
        put(4 * quarter + 3, Lanes(_mm512_castpd_ps(_mm512_unpackhi_pd(high_ab, high_cd))));
    }
}

#elif defined(__AVX2__)

struct Lanes {
    static constexpr int width = 8;
    __m256 x;
    Lanes() = default;
    Lanes(__m256 value) : x(value) {}
    explicit Lanes(float value) : x(_mm256_set1_ps(value)) {}
    static Lanes load(const float* from) { return _mm256_load_ps(from); }
    static Lanes load_anywhere(const float* from) { return _mm256_loadu_ps(from); }
    void store(float* to) const { _mm256_store_ps(to, x); }
    void store_anywhere(float* to) const { _mm256_storeu_ps(to, x); }
};
struct Index {
    __m256i x;
    void store(std::int32_t* to) const { _mm256_store_si256(reinterpret_cast<__m256i*>(to), x); }
};
struct Mask {
    __m256 x;
};

inline Lanes operator+(Lanes a, Lanes b) { return _mm256_add_ps(a.x, b.x); }
inline Lanes operator-(Lanes a, Lanes b) { return _mm256_sub_ps(a.x, b.x); }
inline Lanes operator*(Lanes a, Lanes b) { return _mm256_mul_ps(a.x, b.x); }
inline Lanes operator/(Lanes a, Lanes b) { return _mm256_div_ps(a.x, b.x); }
inline Lanes multiply_add(Lanes a, Lanes b, Lanes c) { return _mm256_fmadd_ps(a.x, b.x, c.x); }
inline Lanes smaller(Lanes a, Lanes b) { return _mm256_min_ps(a.x, b.x); }
inline Lanes larger(Lanes a, Lanes b) { return _mm256_max_ps(a.x, b.x); }
inline Lanes floor(Lanes a) { return _mm256_floor_ps(a.x); }
inline Mask equal(Lanes a, Lanes b) { return {_mm256_cmp_ps(a.x, b.x, _CMP_EQ_OQ)}; }
inline Mask less(Lanes a, Lanes b) { return {_mm256_cmp_ps(a.x, b.x, _CMP_LT_OQ)}; }
inline Mask positive(Lanes a) { return {_mm256_cmp_ps(a.x, _mm256_setzero_ps(), _CMP_GT_OQ)}; }
inline Mask operator&(Mask a, Mask b) { return {_mm256_and_ps(a.x, b.x)}; }
inline Mask operator|(Mask a, Mask b) { return {_mm256_or_ps(a.x, b.x)}; }
inline Mask operator~(Mask a) { return {_mm256_xor_ps(a.x, _mm256_castsi256_ps(_mm256_set1_epi32(-1)))}; }
inline Lanes choose(Mask mask, Lanes yes, Lanes no) { return _mm256_blendv_ps(no.x, yes.x, mask.x); }
inline unsigned bits(Mask mask) { return static_cast<unsigned>(_mm256_movemask_ps(mask.x)); }
inline Index to_index(Lanes a) { return {_mm256_cvtps_epi32(a.x)}; }
inline Lanes to_lanes(Index a) { return _mm256_cvtepi32_ps(a.x); }
inline Index bits_of(Lanes a) { return {_mm256_castps_si256(a.x)}; }
inline Index shifted(Index a, int by) { return {_mm256_sll_epi32(a.x, _mm_cvtsi32_si128(by))}; }
inline Index choose(Mask mask, Index yes, Index no) {
    return {_mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(no.x), _mm256_castsi256_ps(yes.x), mask.x))};
}
inline Index operator+(Index a, Index b) { return {_mm256_add_epi32(a.x, b.x)}; }
inline Lanes as_lanes(Index a) { return _mm256_castsi256_ps(a.x); }
inline Index broadcast(int a) { return {_mm256_set1_epi32(a)}; }
inline Mask equal(Index a, Index b) { return {_mm256_castsi256_ps(_mm256_cmpeq_epi32(a.x, b.x))}; }
inline Index either(Index a, Index b) { return {_mm256_or_si256(a.x, b.x)}; }
inline bool any_nonzero(Index a) { return !_mm256_testz_si256(a.x, a.x); }

inline Index load_voxels(const float* from) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))}; }
inline Index load_voxels(const std::uint8_t* from) {
    return {_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)))};
}
inline Index load_voxels(const std::uint16_t* from) {
    return {_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)))};
}
inline __m128i narrowed(Index a) {
    return _mm_packus_epi32(_mm256_castsi256_si128(a.x), _mm256_extracti128_si256(a.x, 1));
}
inline void store_voxels(std::uint16_t* to, Index a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), narrowed(a)); }
inline void store_voxels(std::uint8_t* to, Index a) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(narrowed(a), _mm_setzero_si128()));
}
template <class Voxel>
inline Index window(const Voxel* from, Index i) {
    const __m256i low = _mm256_permutevar8x32_epi32(load_voxels(from).x, i.x);
    const __m256i high = _mm256_permutevar8x32_epi32(load_voxels(from + 8).x, i.x);
    // Bit 3 of the index tells the two halves apart; blendv looks at the sign bit.
    return {_mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high),
                                                 _mm256_castsi256_ps(_mm256_slli_epi32(i.x, 28))))};
}
inline Index gather(const float* from, Index i) {
    return {_mm256_i32gather_epi32(reinterpret_cast<const int*>(from), i.x, 4)};
}
// Each lane reads 32 bits and keeps its own.
inline Index gather(const std::uint8_t* from, Index i) {
    return {
        _mm256_and_si256(_mm256_i32gather_epi32(reinterpret_cast<const int*>(from), i.x, 1), _mm256_set1_epi32(0xff))};
}
inline Index gather(const std::uint16_t* from, Index i) {
    return {_mm256_and_si256(_mm256_i32gather_epi32(reinterpret_cast<const int*>(from), i.x, 2),
                             _mm256_set1_epi32(0xffff))};
}
inline Lanes load_numbers(const float* from) { return _mm256_loadu_ps(from); }
inline Lanes load_numbers(const std::int32_t* from) {
    return _mm256_cvtepi32_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
inline Lanes load_numbers(const std::int16_t* from) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}
inline Lanes load_numbers(const std::uint16_t* from) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}
inline Lanes load_numbers(const std::uint8_t* from) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
}
inline Lanes reversed(Lanes a) { return _mm256_permutevar8x32_ps(a.x, _mm256_set_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
template <class Put>
inline void transpose(const float* from, std::ptrdiff_t stride, Put put) {
    for (int half = 0; half < 2; ++half) {
        const auto rows_at = [&](int row) {
            const float* at = from + row * stride + 4 * half;
            return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(at)), _mm_loadu_ps(at + 4 * stride), 1);
        };
        const __m256 a = rows_at(0), b = rows_at(1), c = rows_at(2), d = rows_at(3);
        const __m256 low_ab = _mm256_unpacklo_ps(a, b), low_cd = _mm256_unpacklo_ps(c, d);
        const __m256 high_ab = _mm256_unpackhi_ps(a, b), high_cd = _mm256_unpackhi_ps(c, d);
        put(4 * half, Lanes(_mm256_shuffle_ps(low_ab, low_cd, 0x44)));
        put(4 * half + 1, Lanes(_mm256_shuffle_ps(low_ab, low_cd, 0xee)));
        put(4 * half + 2, Lanes(_mm256_shuffle_ps(high_ab, high_cd, 0x44)));
        put(4 * half + 3, Lanes(_mm256_shuffle_ps(high_ab, high_cd, 0xee)));
    }
}

// Sums of pairs of neighbouring voxels, each lane's own. A pair takes one read of 64 bits, so four voxels take two
// reads where three gathered ones take three, and the processor splits those into steps of its own besides.
constexpr bool kHasPairs = true;
class PairSum {
  public:
    // Add to each lane `first` times the voxel at `i` and `second` times the one behind it.
    __attribute__((always_inline)) void add(const float* from, Index i, Lanes first, Lanes second) {
        const __m128i lower = _mm256_castsi256_si128(i.x), upper = _mm256_extracti128_si256(i.x, 1);
        const std::int64_t i01 = _mm_cvtsi128_si64(lower), i23 = _mm_extract_epi64(lower, 1);
        const std::int64_t i45 = _mm_cvtsi128_si64(upper), i67 = _mm_extract_epi64(upper, 1);
        low_ = _mm256_fmadd_ps(four(from, i01, i45), _mm256_unpacklo_ps(first.x, second.x), low_);
        high_ = _mm256_fmadd_ps(four(from, i23, i67), _mm256_unpackhi_ps(first.x, second.x), high_);
    }
    Lanes total() const {
        return _mm256_add_ps(_mm256_shuffle_ps(low_, high_, 0x88), _mm256_shuffle_ps(low_, high_, 0xdd));
    }

  private:
    // Two indices of 32 bits come in one of 64.
    static __m128 two(const float* from, std::int64_t both) {
        double low;
        __builtin_memcpy(&low, from + static_cast<std::int32_t>(both), sizeof(low));
        return _mm_loadh_pi(_mm_castpd_ps(_mm_set_sd(low)), reinterpret_cast<const __m64*>(from + (both >> 32)));
    }
    static __m256 four(const float* from, std::int64_t lower, std::int64_t upper) {
        return _mm256_insertf128_ps(_mm256_castps128_ps256(two(from, lower)), two(from, upper), 1);
    }

    // Pairs of lanes 0, 1, 4, 5 and 2, 3, 6, 7: the order in which weights interleave.
    __m256 low_ = _mm256_setzero_ps(), high_ = _mm256_setzero_ps();
};

#else

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
    for (int i = 0; i < 4; ++i) result |= (mask.x[0][i] & 1u) << i | (mask.x[1][i] & 1u) << (i + 4);
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

#endif

// Numbers that no instruction above reads.
template <class Number>
inline Lanes load_numbers(const Number* from) {
    alignas(64) float values[Lanes::width];
    for (int i = 0; i < Lanes::width; ++i) values[i] = static_cast<float>(from[i]);
    return Lanes::load(values);
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
#endif

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

// Do the codes from `first` to `last`, of two registers of lanes, hold nothing but this one?
template <class Code>
inline bool all_are(const Code* from, int code, int first, int last) {
#if defined(__AVX512F__)
    const __mmask32 asked = (~0u << first) & (~0u >> (31 - last));
    if constexpr (sizeof(Code) == 1)
        return _mm256_mask_cmpneq_epi8_mask(asked, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)),
                                            _mm256_set1_epi8(static_cast<char>(code))) == 0;
    else
        return _mm512_mask_cmpneq_epi16_mask(asked, _mm512_loadu_si512(from),
                                             _mm512_set1_epi16(static_cast<short>(code))) == 0;
#else
    // Some of the codes before and behind as well: where they differ, the walk finds that no ray meets them.
    return (first >= Lanes::width || all_are<Lanes::width>(from, code)) &&
           (last < Lanes::width || all_are<Lanes::width>(from + Lanes::width, code));
#endif
}

// Floats of a register, as a power of two.
constexpr int kRegisterShift = Lanes::width == 16 ? 4 : 3;

// Bits of a mask in which every lane is set.
constexpr unsigned all_lanes = (1u << Lanes::width) - 1u;

}  // namespace DRRPROJ_ISA
}  // namespace drrproj
