// Lanes of AVX-512: sixteen, with patches of voxels picked by permutes.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace drrproj {
namespace DRRPROJ_ISA {

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

inline Index load_bits(const char* from) { return {_mm512_loadu_si512(from)}; }
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

// Do the codes from `first` to `last`, of two registers of lanes, hold nothing but this one?
template <class Code>
inline bool all_are(const Code* from, int code, int first, int last) {
    const __mmask32 asked = (~0u << first) & (~0u >> (31 - last));
    if constexpr (sizeof(Code) == 1)
        return _mm256_mask_cmpneq_epi8_mask(asked, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)),
                                            _mm256_set1_epi8(static_cast<char>(code))) == 0;
    else
        return _mm512_mask_cmpneq_epi16_mask(asked, _mm512_loadu_si512(from),
                                             _mm512_set1_epi16(static_cast<short>(code))) == 0;
}

}  // namespace DRRPROJ_ISA
}  // namespace drrproj
