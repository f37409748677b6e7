// What a tile's rays have collected goes to the outputs.
#pragma once

#include <cstdint>

#include "collection.h"
#include "job.h"
#include "lanes.h"
#include "rays.h"

namespace drrproj {
namespace DRRPROJ_ISA {
namespace {

void write(const Walk& walk, const Packet& packet, Lanes values, float* image) {
    alignas(64) float value[N];
    if (packet.in_line) return values.store_anywhere(image + packet.row[0] * walk.job.columns + packet.column[0]);
    values.store(value);
    for (int i = 0; i < N; ++i)
        if (packet.column[i] >= 0) image[packet.row[i] * walk.job.columns + packet.column[i]] = value[i];
}

void write_line_integrals(const Walk& walk) {
    if (!walk.job.outputs.line_integral) return;
    for (int index = 0; index < walk.count; ++index) {
        const Packet& packet = walk.packets[index];
        write(walk, packet, Lanes::load(packet.sum) * Lanes::load(packet.mm_per_slab), walk.job.outputs.line_integral);
    }
}

void write_depth(const Walk& walk, const Packet& packet, const float* numbers, unsigned met, const Outputs& outputs) {
    const Plan& plan = walk.job.plan;
    const int x = walk.axis_x;
    alignas(64) float from_start[N], from_end[N];
    Lanes::load(numbers + Quantity::from_start * N).store(from_start);
    Lanes::load(numbers + Quantity::from_end * N).store(from_end);
    for (int i = 0; i < N; ++i) {
        if (!(met >> i & 1)) continue;
        const double row = packet.row[i], column = packet.column[i];
        const double pixel = plan.first_pixel[x] + row * plan.row_step[x] + column * plan.column_step[x];
        const double origin = plan.parallel ? pixel : plan.source[x];
        const double mm = packet.mm_per_slab[i];
        const double high = (static_cast<double>(from_start[i]) - origin) * mm;
        const double low = (static_cast<double>(walk.size_x) - static_cast<double>(from_end[i]) - origin) * mm;
        const bool forwards = plan.parallel ? plan.source[x] < 0.0 : pixel > plan.source[x];
        const std::int64_t at = packet.row[i] * walk.job.columns + packet.column[i];
        if (outputs.entry_depth) outputs.entry_depth[at] = static_cast<float>(forwards ? low : -high);
        if (outputs.exit_depth) outputs.exit_depth[at] = static_cast<float>(forwards ? high : -low);
    }
}

// Of the bits of 16 or 8 lanes, the lowest goes to the highest bit of the first byte.
std::uint8_t turned(unsigned bits) {
    bits = (bits & 0xf0) >> 4 | (bits & 0x0f) << 4;
    bits = (bits & 0xcc) >> 2 | (bits & 0x33) << 2;
    return static_cast<std::uint8_t>((bits & 0xaa) >> 1 | (bits & 0x55) << 1);
}

void write_mask(const Walk& walk, const Packet& packet, unsigned met, std::uint8_t* mask) {
    const std::int64_t packed = (walk.job.columns + 7) / 8;
    if (packet.in_line && packet.column[0] % 8 == 0) {
        std::uint8_t* const bytes = mask + packet.row[0] * packed + packet.column[0] / 8;
        for (int i = 0; i < N / 8; ++i) bytes[i] = turned(met >> 8 * i & 0xff);
        return;
    }
    for (int i = 0; i < N; ++i) {
        if (!(met >> i & 1)) continue;
        // Lines of a sheared tile leave bytes that two threads share.
        __atomic_fetch_or(mask + packet.row[i] * packed + packet.column[i] / 8,
                          static_cast<std::uint8_t>(0x80u >> packet.column[i] % 8), __ATOMIC_RELAXED);
    }
}

void raise(std::int32_t& number, std::int32_t to) {
    std::int32_t was = __atomic_load_n(&number, __ATOMIC_RELAXED);
    while (was < to && !__atomic_compare_exchange_n(&number, &was, to, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

void write_structures(const Walk& walk, Collection& collection, std::int32_t* slots) {
    const Job& job = walk.job;
    const Structures& structures = job.structures;
    for (std::int64_t structure = 0; structure < structures.count; ++structure) {
        int count = 0;
        for (std::int64_t i = structures.first_value[structure]; i < structures.first_value[structure + 1]; ++i)
            if (const int slot = collection.slot_of(1 + structures.value_indices[i])) slots[count++] = slot;
        if (count == 0) continue;
        const auto of_structure = [&](auto* output, std::int64_t stride) {
            return output ? output + structure * stride : nullptr;
        };
        const Outputs& all = job.outputs;
        Outputs outputs{};
        outputs.path_length = of_structure(all.path_length, job.image_stride);
        outputs.label_line_integral = of_structure(all.label_line_integral, job.image_stride);
        outputs.entry_depth = of_structure(all.entry_depth, job.image_stride);
        outputs.exit_depth = of_structure(all.exit_depth, job.image_stride);
        outputs.mask = of_structure(all.mask, job.mask_stride);
        outputs.box = of_structure(all.box, job.box_stride);
        const bool with_depth = outputs.entry_depth || outputs.exit_depth;
        const Lanes least(structures.min_path_mm[structure]);
        std::int32_t low_row = INT32_MAX, high_row = -1, low_column = INT32_MAX, high_column = -1;
        collection.for_each_touched(slots, count, [&](int index) {
            const Packet& packet = walk.packets[index];
            alignas(64) float sums[4 * N];
            const float* numbers = collection.in_slot(slots[0], index);
            if (count > 1) {
                __builtin_memset(sums, 0, sizeof(sums));
                numbers = sums;
            }
            for (int i = 0; i < count && count > 1; ++i) {
                const float* const more = collection.in_slot(slots[i], index);
                add(sums, Quantity::path, Lanes::load(more + Quantity::path * N));
                if (outputs.label_line_integral)
                    add(sums, Quantity::integral, Lanes::load(more + Quantity::integral * N));
                if (!with_depth) continue;
                raise(sums, Quantity::from_start, Lanes::load(more + Quantity::from_start * N));
                raise(sums, Quantity::from_end, Lanes::load(more + Quantity::from_end * N));
            }
            const Lanes slabs = Lanes::load(numbers), mm = Lanes::load(packet.mm_per_slab);
            if (outputs.path_length) write(walk, packet, slabs * mm, outputs.path_length);
            if (outputs.label_line_integral)
                write(walk, packet, Lanes::load(numbers + Quantity::integral * N) * mm, outputs.label_line_integral);
            if (with_depth) write_depth(walk, packet, numbers, bits(positive(slabs * mm)), outputs);
            // Lanes without a pixel have no millimetres.
            if (outputs.mask) write_mask(walk, packet, bits(less(least, slabs * mm)), outputs.mask);
            for (unsigned rest = outputs.box ? bits(positive(slabs * mm)) : 0; rest; rest &= rest - 1) {
                const int i = __builtin_ctz(rest);
                low_row = packet.row[i] < low_row ? packet.row[i] : low_row;
                high_row = packet.row[i] > high_row ? packet.row[i] : high_row;
                low_column = packet.column[i] < low_column ? packet.column[i] : low_column;
                high_column = packet.column[i] > high_column ? packet.column[i] : high_column;
            }
        });
        if (outputs.box && high_row >= 0) {
            raise(outputs.box[0], static_cast<std::int32_t>(job.rows) - low_row);
            raise(outputs.box[1], high_row + 1);
            raise(outputs.box[2], static_cast<std::int32_t>(job.columns) - low_column);
            raise(outputs.box[3], high_column + 1);
        }
    }
}

void write_background(const Walk& walk, const Collection& collection) {
    // What packets have in the labels is taken from their sums, which the image has by now.
    collection.for_each_slot([&](std::int32_t slot) {
        collection.for_each_touched(&slot, 1, [&](int index) {
            float* const sum = walk.packets[index].sum;
            (Lanes::load(sum) - Lanes::load(collection.in_slot(slot, index) + Quantity::integral * N)).store(sum);
        });
    });
    for (int index = 0; index < walk.count; ++index) {
        const Packet& packet = walk.packets[index];
        write(walk, packet, Lanes::load(packet.sum) * Lanes::load(packet.mm_per_slab),
              walk.job.outputs.background_line_integral);
    }
}

}  // namespace
}  // namespace DRRPROJ_ISA
}  // namespace drrproj
