// Lanes of AVX2: eight.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace drrproj {
namespace DRRPROJ_ISA {

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

inline Index load_bits(const char* from) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))}; }
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

}  // namespace DRRPROJ_ISA
}  // namespace drrproj
