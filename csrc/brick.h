// Staging: a box of voxels, copied from any memory order and number type into floats with u contiguous.
//
// Voxels outside the grid become 0, so the walk needs no bounds. Attenuation and label channels are applied here, once
// per voxel. Slab s of the brick starts at its own (u, v) corner: the box follows slanted rays.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tile.h"
#include "walk.h"

namespace drrproj {
namespace DRRPROJ_ISA {

struct Box {
    int axis_x, axis_u, axis_v;   // which array axis each coordinate is
    std::int64_t x;               // first slab
    int slabs, rows, width;       // slabs * rows * width floats
    std::int64_t u[kBlockSlabs], v[kBlockSlabs];  // corner of each slab

    int slab_size() const { return rows * width; }
};

struct ToAttenuation {
    Attenuation law;
    template <class Number>
    float operator()(Number number) const {
        const float value = static_cast<float>(number);
        if (law.bends == 0) return value == value ? value : 0.0f;
        // `larger` returns its second argument for NaN: not a number is air.
        float mu = law.slope_change[0] * larger(value - law.knot[0], 0.0f);
        for (int i = 1; i < law.bends; ++i) mu += law.slope_change[i] * larger(value - law.knot[i], 0.0f);
        return mu;
    }
};

// Two bends (the bilinear law) are the everyday case: constants in registers let the compiler vectorise the row.
struct ToAttenuationBilinear {
    float knot_0, change_0, knot_1, change_1;
    template <class Number>
    float operator()(Number number) const {
        const float value = static_cast<float>(number);
        return change_0 * larger(value - knot_0, 0.0f) + change_1 * larger(value - knot_1, 0.0f);
    }
};

struct AsIs {
    template <class Number>
    float operator()(Number number) const {
        const float value = static_cast<float>(number);
        return value == value ? value : 0.0f;
    }
};

struct ToChannelSmall {
    const float* channel_of_id;
    float operator()(std::int8_t id) const { return channel_of_id[static_cast<std::uint8_t>(id)]; }
    float operator()(std::uint8_t id) const { return channel_of_id[id]; }
    float operator()(std::int16_t id) const { return channel_of_id[static_cast<std::uint16_t>(id)]; }
    float operator()(std::uint16_t id) const { return channel_of_id[id]; }
};

struct ToChannelWide {
    Channels channels;
    template <class Number>
    float operator()(Number number) const {
        const std::int64_t id = static_cast<std::int64_t>(number);
        if (id == 0) return 0.0f;
        std::int64_t low = 0, high = channels.count;
        while (low < high) {
            const std::int64_t middle = (low + high) / 2;
            if (channels.ids[middle] < id)
                low = middle + 1;
            else
                high = middle;
        }
        return low < channels.count && channels.ids[low] == id ? static_cast<float>(low + 1) : 0.0f;
    }
};

// One row: `count` numbers `stride` bytes apart. Unit stride gets a loop of its own that vectorises.
template <class Number, class Convert>
inline void stage_row(const char* from, std::int64_t stride, int count, float* to, int to_stride, Convert convert) {
    if (stride == static_cast<std::int64_t>(sizeof(Number)) && to_stride == 1) {
        const Number* numbers = reinterpret_cast<const Number*>(from);
        for (int i = 0; i < count; ++i) to[i] = convert(numbers[i]);
    } else {
        for (int i = 0; i < count; ++i) {
            to[static_cast<std::ptrdiff_t>(i) * to_stride] = convert(*reinterpret_cast<const Number*>(from));
            from += stride;
        }
    }
}

inline std::int64_t larger(std::int64_t a, std::int64_t b) { return a > b ? a : b; }

inline std::int64_t clamp(std::int64_t value, std::int64_t low, std::int64_t high) {
    return value < low ? low : value > high ? high : value;
}

inline bool any_nonzero(const float* values, std::ptrdiff_t count) {
    std::uint32_t seen = 0;
    for (std::ptrdiff_t i = 0; i < count; ++i) {
        std::uint32_t bits;
        __builtin_memcpy(&bits, values + i, 4);
        seen |= bits & 0x7fffffffu;
    }
    return seen != 0;
}

template <class Number, class Convert>
bool stage(const Grid& grid, const Box& box, float* brick, Convert convert) {
    const char* voxels = static_cast<const char*>(grid.voxels) + box.x * grid.stride[box.axis_x];
    const std::int64_t stride_x = grid.stride[box.axis_x];
    const std::int64_t stride_u = grid.stride[box.axis_u], size_u = grid.size[box.axis_u];
    const std::int64_t stride_v = grid.stride[box.axis_v], size_v = grid.size[box.axis_v];
    const auto bytes = [](std::int64_t stride) { return stride < 0 ? -stride : stride; };
    const std::ptrdiff_t slab_size = box.slab_size();
    // When x is the contiguous axis the box is upright (all slabs share a corner), and each run along x is read whole.
    const bool runs_along_x = bytes(stride_x) < bytes(stride_u) && box.slabs > 1;
    for (int s = 0; s < (runs_along_x ? 1 : box.slabs); ++s) {
        const std::int64_t u_begin = clamp(box.u[s], 0, size_u), u_end = clamp(box.u[s] + box.width, 0, size_u);
        const std::int64_t v_begin = clamp(box.v[s], 0, size_v), v_end = clamp(box.v[s] + box.rows, 0, size_v);
        const bool inside = u_begin == box.u[s] && u_end == box.u[s] + box.width && v_begin == box.v[s] &&
                            v_end == box.v[s] + box.rows;
        if (!inside) {
            const std::ptrdiff_t count = slab_size * (runs_along_x ? box.slabs : 1);
            for (std::ptrdiff_t i = 0; i < count; ++i) brick[s * slab_size + i] = 0.0f;
        }
        for (std::int64_t v = v_begin; v < v_end; ++v) {
            const char* from = voxels + s * stride_x + v * stride_v + u_begin * stride_u;
            float* to = brick + s * slab_size + (v - box.v[s]) * box.width + (u_begin - box.u[s]);
            if (runs_along_x) {
                for (std::int64_t u = u_begin; u < u_end; ++u, from += stride_u, ++to)
                    stage_row<Number>(from, stride_x, box.slabs, to, static_cast<int>(slab_size), convert);
            } else {
                stage_row<Number>(from, stride_u, static_cast<int>(u_end - u_begin), to, 1, convert);
            }
        }
    }
    return any_nonzero(brick, slab_size * box.slabs);
}

template <class Convert>
bool stage_any(const Grid& grid, const Box& box, float* brick, Convert convert) {
    switch (grid.type) {
        case NumberType::int8: return stage<std::int8_t>(grid, box, brick, convert);
        case NumberType::uint8: return stage<std::uint8_t>(grid, box, brick, convert);
        case NumberType::int16: return stage<std::int16_t>(grid, box, brick, convert);
        case NumberType::uint16: return stage<std::uint16_t>(grid, box, brick, convert);
        case NumberType::int32: return stage<std::int32_t>(grid, box, brick, convert);
        case NumberType::uint32: return stage<std::uint32_t>(grid, box, brick, convert);
        case NumberType::int64: return stage<std::int64_t>(grid, box, brick, convert);
        case NumberType::uint64: return stage<std::uint64_t>(grid, box, brick, convert);
        case NumberType::float32: return stage<float>(grid, box, brick, convert);
        case NumberType::float64: return stage<double>(grid, box, brick, convert);
    }
    return false;
}

// Fill the brick with attenuation; false when all of it is zero, so that nothing needs walking.
inline bool stage_image(const Job& job, const Box& box, float* brick) {
    const Attenuation& law = job.attenuation;
    if (law.bends == 0) return stage_any(*job.image, box, brick, AsIs{});
    if (law.bends == 2)
        return stage_any(*job.image, box, brick,
                         ToAttenuationBilinear{law.knot[0], law.slope_change[0], law.knot[1], law.slope_change[1]});
    return stage_any(*job.image, box, brick, ToAttenuation{law});
}

// Fill the brick with 1 + channel per voxel, 0 for background.
inline bool stage_label(const Job& job, const Box& box, float* brick) {
    const ToChannelSmall small{job.channel_of_small_id};
    switch (job.label->type) {
        case NumberType::int8: return stage<std::int8_t>(*job.label, box, brick, small);
        case NumberType::uint8: return stage<std::uint8_t>(*job.label, box, brick, small);
        case NumberType::int16: return stage<std::int16_t>(*job.label, box, brick, small);
        case NumberType::uint16: return stage<std::uint16_t>(*job.label, box, brick, small);
        case NumberType::int32: return stage<std::int32_t>(*job.label, box, brick, ToChannelWide{job.channels});
        case NumberType::uint32: return stage<std::uint32_t>(*job.label, box, brick, ToChannelWide{job.channels});
        case NumberType::int64: return stage<std::int64_t>(*job.label, box, brick, ToChannelWide{job.channels});
        case NumberType::uint64: return stage<std::uint64_t>(*job.label, box, brick, ToChannelWide{job.channels});
        case NumberType::float32:
        case NumberType::float64: break;  // refused at the binding
    }
    return false;
}

}  // namespace DRRPROJ_ISA
}  // namespace drrproj
