// A packet of float lanes: one ray per lane. One type, three ways to compile it.
//
// Besides arithmetic it has the two ways to read voxels: `window` picks from 2 * width neighbouring floats with
// in-register permutes, `gather` reads each lane's own address.
#pragma once

#include <cmath>
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
    void store(float* to) const { _mm512_store_ps(to, x); }
};
struct Index {
    __m512i x;
};
struct Mask {
    __mmask16 x;
};

inline Lanes operator+(Lanes a, Lanes b) { return _mm512_add_ps(a.x, b.x); }
inline Lanes operator-(Lanes a, Lanes b) { return _mm512_sub_ps(a.x, b.x); }
inline Lanes operator*(Lanes a, Lanes b) { return _mm512_mul_ps(a.x, b.x); }
inline Lanes multiply_add(Lanes a, Lanes b, Lanes c) { return _mm512_fmadd_ps(a.x, b.x, c.x); }
inline Lanes smaller(Lanes a, Lanes b) { return _mm512_min_ps(a.x, b.x); }
inline Lanes larger(Lanes a, Lanes b) { return _mm512_max_ps(a.x, b.x); }
inline Lanes floor(Lanes a) { return _mm512_roundscale_ps(a.x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
inline Mask equal(Lanes a, Lanes b) { return {_mm512_cmp_ps_mask(a.x, b.x, _CMP_EQ_OQ)}; }
inline Mask positive(Lanes a) { return {_mm512_cmp_ps_mask(a.x, _mm512_setzero_ps(), _CMP_GT_OQ)}; }
inline Mask operator&(Mask a, Mask b) { return {_kand_mask16(a.x, b.x)}; }
inline Mask operator|(Mask a, Mask b) { return {_kor_mask16(a.x, b.x)}; }
inline Mask operator~(Mask a) { return {_knot_mask16(a.x)}; }
inline Lanes choose(Mask mask, Lanes yes, Lanes no) { return _mm512_mask_blend_ps(mask.x, no.x, yes.x); }
inline unsigned bits(Mask mask) { return mask.x; }
inline float smallest(Lanes a) { return _mm512_reduce_min_ps(a.x); }
inline float largest(Lanes a) { return _mm512_reduce_max_ps(a.x); }
inline Index to_index(Lanes a) { return {_mm512_cvtps_epi32(a.x)}; }
inline Index operator+(Index a, Index b) { return {_mm512_add_epi32(a.x, b.x)}; }
inline Lanes window(const float* from, Index i) {
    return _mm512_permutex2var_ps(_mm512_loadu_ps(from), i.x, _mm512_loadu_ps(from + 16));
}
inline Lanes gather(const float* from, Index i) { return _mm512_i32gather_ps(i.x, from, 4); }
// Write column i of the square to `to + i * stride`.
inline void transpose(const float (&square)[16][16], float* to, std::ptrdiff_t stride) {
    __m512 rows[16], pairs[16];
    for (int i = 0; i < 16; ++i) rows[i] = _mm512_load_ps(square[i]);
    for (int i = 0; i < 16; i += 2) {
        pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        const auto quad = [](__m512 a, __m512 b, bool high) {
            const __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);
            return _mm512_castpd_ps(high ? _mm512_unpackhi_pd(x, y) : _mm512_unpacklo_pd(x, y));
        };
        rows[i] = quad(pairs[i], pairs[i + 2], false);
        rows[i + 1] = quad(pairs[i], pairs[i + 2], true);
        rows[i + 2] = quad(pairs[i + 1], pairs[i + 3], false);
        rows[i + 3] = quad(pairs[i + 1], pairs[i + 3], true);
    }
    for (int i = 0; i < 4; ++i) {
        const __m512 low_even = _mm512_shuffle_f32x4(rows[i], rows[i + 4], 0x88);
        const __m512 low_odd = _mm512_shuffle_f32x4(rows[i], rows[i + 4], 0xdd);
        const __m512 high_even = _mm512_shuffle_f32x4(rows[i + 8], rows[i + 12], 0x88);
        const __m512 high_odd = _mm512_shuffle_f32x4(rows[i + 8], rows[i + 12], 0xdd);
        _mm512_storeu_ps(to + i * stride, _mm512_shuffle_f32x4(low_even, high_even, 0x88));
        _mm512_storeu_ps(to + (i + 4) * stride, _mm512_shuffle_f32x4(low_odd, high_odd, 0x88));
        _mm512_storeu_ps(to + (i + 8) * stride, _mm512_shuffle_f32x4(low_even, high_even, 0xdd));
        _mm512_storeu_ps(to + (i + 12) * stride, _mm512_shuffle_f32x4(low_odd, high_odd, 0xdd));
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
    void store(float* to) const { _mm256_store_ps(to, x); }
};
struct Index {
    __m256i x;
};
struct Mask {
    __m256 x;
};

inline Lanes operator+(Lanes a, Lanes b) { return _mm256_add_ps(a.x, b.x); }
inline Lanes operator-(Lanes a, Lanes b) { return _mm256_sub_ps(a.x, b.x); }
inline Lanes operator*(Lanes a, Lanes b) { return _mm256_mul_ps(a.x, b.x); }
inline Lanes multiply_add(Lanes a, Lanes b, Lanes c) { return _mm256_fmadd_ps(a.x, b.x, c.x); }
inline Lanes smaller(Lanes a, Lanes b) { return _mm256_min_ps(a.x, b.x); }
inline Lanes larger(Lanes a, Lanes b) { return _mm256_max_ps(a.x, b.x); }
inline Lanes floor(Lanes a) { return _mm256_floor_ps(a.x); }
inline Mask equal(Lanes a, Lanes b) { return {_mm256_cmp_ps(a.x, b.x, _CMP_EQ_OQ)}; }
inline Mask positive(Lanes a) { return {_mm256_cmp_ps(a.x, _mm256_setzero_ps(), _CMP_GT_OQ)}; }
inline Mask operator&(Mask a, Mask b) { return {_mm256_and_ps(a.x, b.x)}; }
inline Mask operator|(Mask a, Mask b) { return {_mm256_or_ps(a.x, b.x)}; }
inline Mask operator~(Mask a) { return {_mm256_xor_ps(a.x, _mm256_castsi256_ps(_mm256_set1_epi32(-1)))}; }
inline Lanes choose(Mask mask, Lanes yes, Lanes no) { return _mm256_blendv_ps(no.x, yes.x, mask.x); }
inline unsigned bits(Mask mask) { return static_cast<unsigned>(_mm256_movemask_ps(mask.x)); }
inline float smallest(Lanes a) {
    __m128 half = _mm_min_ps(_mm256_castps256_ps128(a.x), _mm256_extractf128_ps(a.x, 1));
    half = _mm_min_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_min_ss(half, _mm_movehdup_ps(half)));
}
inline float largest(Lanes a) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(a.x), _mm256_extractf128_ps(a.x, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}
inline Index to_index(Lanes a) { return {_mm256_cvtps_epi32(a.x)}; }
inline Index operator+(Index a, Index b) { return {_mm256_add_epi32(a.x, b.x)}; }
inline Lanes window(const float* from, Index i) {
    const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(from), i.x);
    const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(from + 8), i.x);
    // Bit 3 of the index tells the two halves apart; blendv looks at the sign bit.
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(i.x, 28)));
}
inline Lanes gather(const float* from, Index i) { return _mm256_i32gather_ps(from, i.x, 4); }
inline void transpose(const float (&square)[8][8], float* to, std::ptrdiff_t stride) {
    __m256 rows[8], pairs[8];
    for (int i = 0; i < 8; ++i) rows[i] = _mm256_load_ps(square[i]);
    for (int i = 0; i < 8; i += 2) {
        pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        rows[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
        rows[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xee);
        rows[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
        rows[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
        _mm256_storeu_ps(to + i * stride, _mm256_permute2f128_ps(rows[i], rows[i + 4], 0x20));
        _mm256_storeu_ps(to + (i + 4) * stride, _mm256_permute2f128_ps(rows[i], rows[i + 4], 0x31));
    }
}

#else

struct Lanes {
    static constexpr int width = 8;
    float x[width];
    Lanes() = default;
    explicit Lanes(float value) {
        for (float& lane : x) lane = value;
    }
    static Lanes load(const float* from) {
        Lanes lanes;
        for (int i = 0; i < width; ++i) lanes.x[i] = from[i];
        return lanes;
    }
    void store(float* to) const {
        for (int i = 0; i < width; ++i) to[i] = x[i];
    }
};
struct Index {
    std::int32_t x[Lanes::width];
};
struct Mask {
    bool x[Lanes::width];
};

template <class Result, class Function>
inline Result each(Function function) {
    Result result;
    for (int i = 0; i < Lanes::width; ++i) result.x[i] = function(i);
    return result;
}
inline Lanes operator+(Lanes a, Lanes b) {
    return each<Lanes>([&](int i) { return a.x[i] + b.x[i]; });
}
inline Lanes operator-(Lanes a, Lanes b) {
    return each<Lanes>([&](int i) { return a.x[i] - b.x[i]; });
}
inline Lanes operator*(Lanes a, Lanes b) {
    return each<Lanes>([&](int i) { return a.x[i] * b.x[i]; });
}
inline Lanes multiply_add(Lanes a, Lanes b, Lanes c) { return a * b + c; }
inline Lanes smaller(Lanes a, Lanes b) {
    return each<Lanes>([&](int i) { return smaller(a.x[i], b.x[i]); });
}
inline Lanes larger(Lanes a, Lanes b) {
    return each<Lanes>([&](int i) { return larger(a.x[i], b.x[i]); });
}
inline Lanes floor(Lanes a) {
    return each<Lanes>([&](int i) { return std::floor(a.x[i]); });
}
inline Mask equal(Lanes a, Lanes b) {
    return each<Mask>([&](int i) { return a.x[i] == b.x[i]; });
}
inline Mask positive(Lanes a) {
    return each<Mask>([&](int i) { return a.x[i] > 0.0f; });
}
inline Mask operator&(Mask a, Mask b) {
    return each<Mask>([&](int i) { return a.x[i] && b.x[i]; });
}
inline Mask operator|(Mask a, Mask b) {
    return each<Mask>([&](int i) { return a.x[i] || b.x[i]; });
}
inline Mask operator~(Mask a) {
    return each<Mask>([&](int i) { return !a.x[i]; });
}
inline Lanes choose(Mask mask, Lanes yes, Lanes no) {
    return each<Lanes>([&](int i) { return mask.x[i] ? yes.x[i] : no.x[i]; });
}
inline unsigned bits(Mask mask) {
    unsigned result = 0;
    for (int i = 0; i < Lanes::width; ++i) result |= static_cast<unsigned>(mask.x[i]) << i;
    return result;
}
inline float smallest(Lanes a) {
    float result = a.x[0];
    for (float lane : a.x) result = smaller(result, lane);
    return result;
}
inline float largest(Lanes a) {
    float result = a.x[0];
    for (float lane : a.x) result = larger(result, lane);
    return result;
}
inline Index to_index(Lanes a) {
    return each<Index>([&](int i) { return static_cast<std::int32_t>(a.x[i]); });
}
inline Index operator+(Index a, Index b) {
    return each<Index>([&](int i) { return a.x[i] + b.x[i]; });
}
inline Lanes window(const float* from, Index index) {
    return each<Lanes>([&](int i) { return from[index.x[i] & (2 * Lanes::width - 1)]; });
}
inline Lanes gather(const float* from, Index index) {
    return each<Lanes>([&](int i) { return from[index.x[i]]; });
}
inline void transpose(const float (&square)[Lanes::width][Lanes::width], float* to, std::ptrdiff_t stride) {
    for (int i = 0; i < Lanes::width; ++i)
        for (int j = 0; j < Lanes::width; ++j) to[i * stride + j] = square[j][i];
}

#endif

// Bits of a mask in which every lane is set.
constexpr unsigned all_lanes = (1u << Lanes::width) - 1u;

}  // namespace DRRPROJ_ISA
}  // namespace drrproj
