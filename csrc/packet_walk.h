// The walk of one packet through a staged block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "block.h"
#include "brick.h"
#include "collection.h"
#include "coordinate.h"
#include "job.h"
#include "lanes.h"
#include "places.h"
#include "rays.h"
#include "walk.h"

namespace drrproj {
namespace DRRPROJ_ISA {
namespace {

// The image summed over the four voxels that a ray may meet in a slab: two neighbours of a row, and those of the next.
class Squares {
  public:
    // In line, so that walks which never read squares do not set them up.
    __attribute__((always_inline)) Squares(const Coordinate& u, const Coordinate& v, int pitch)
        : pitch_(static_cast<float>(pitch)) {
        const unsigned down_u = bits(less(u.motion, Lanes(0.0f))), down_v = bits(less(v.motion, Lanes(0.0f)));
        alike_ = (down_u == 0 || down_u == all_lanes) && (down_v == 0 || down_v == all_lanes);
        forwards_ = down_u == 0;
        to_next_row_ = down_v == 0 ? pitch : -pitch;
        const Lanes first = to_lanes(u.voxel) - Lanes(forwards_ ? 0.0f : 1.0f);
        first_ = multiply_add(to_lanes(v.voxel), pitch_, first);
    }
    // Do all rays of the packet move the same way? Only then do their squares lie alike.
    bool alike() const { return alike_; }
    // Out of line, where some compilers put it, its arguments would travel through memory.
    __attribute__((always_inline)) void add(const float* image, const Standing& in_u, const Standing& in_v,
                                            const Shares<Lanes>& shares, Mask u_first) {
        const Lanes round(kRound), zero(0.0f);
        const Index at = to_index(multiply_add(in_v.rounded - round, pitch_, in_u.rounded - round + first_));
        // One of the two is zero: what is read there does not count.
        const Lanes next_column = choose(u_first, shares.middle, zero), next_row = shares.middle - next_column;
        if (forwards_) {
            sum_.add(image, at, shares.entry, next_column);
            sum_.add(image + to_next_row_, at, next_row, shares.exit);
        } else {
            sum_.add(image, at, next_column, shares.entry);
            sum_.add(image + to_next_row_, at, shares.exit, next_row);
        }
    }
    Lanes total() const { return sum_.total(); }

  private:
    Lanes pitch_, first_;
    bool alike_, forwards_;
    std::ptrdiff_t to_next_row_;
    PairSum sum_;
};

// Where each ray's voxels of a slab are in the brick, whatever lies between them.
class LaneByLane {
  public:
    __attribute__((always_inline)) LaneByLane(const Coordinate& u, const Coordinate& v, const Standing& in_u,
                                              const Standing& in_v, const Shares<Lanes>& shares, Mask u_first,
                                              int pitch_of_box) {
        const Lanes round(kRound), pitch(static_cast<float>(pitch_of_box));
        const Lanes step_u = to_lanes(u.step), step_v = to_lanes(v.step) * pitch;
        const Lanes entry =
            multiply_add(in_v.rounded - round + to_lanes(v.voxel), pitch, in_u.rounded - round + to_lanes(u.voxel));
        // A voxel without a share may lie outside the brick: read the voxel of entry instead.
        const auto there = [&](Lanes share, Lanes way) {
            return to_index(choose(positive(share), entry + way, entry));
        };
        entry_ = to_index(entry);
        middle_ = there(shares.middle, choose(u_first, step_u, step_v));
        exit_ = there(shares.exit, step_u + step_v);
    }
    template <class Voxel>
    Codes<3> read(const Voxel* from) const {
        return {{gather(from, entry_), gather(from, middle_), gather(from, exit_)}};
    }

  private:
    Index entry_, middle_, exit_;
};

// Memory takes only so many requests at once: a few lines of the next block are asked for every so many slabs.
constexpr int kAskSlabs = 4;

// A bit for each slab of a block.
std::uint32_t bits_of_slabs(const Box& box) { return ~std::uint32_t{0} >> (kBlockSlabs - box.slabs); }

// Walk the slabs whose bit is set.
template <bool Partial, int What, class Code>
__attribute__((noinline)) void walk_packet(const Walk& walk, const Block& block, int index, const Places& places,
                                           std::uint32_t wanted, Collection& collection, Staging& next) {
    constexpr bool Image = What & kImage, Label = What & kLabel;
    Packet& packet = walk.packets[index];
    const Box& box = block.box;
    const int slabs = box.slabs, middle = slabs / 2;
    const float* const steps = kSlabs.from(middle);
    const Coordinate u = coordinate_of(packet.u, packet.du, packet.motion_u, packet.slope_u, block.x + middle, block.u);
    // Nothing reads it where rays cross in u alone.
    Coordinate v = u;
    if (wanted & ~places.read_so[Reading::one_row])
        v = coordinate_of(packet.v, packet.dv, packet.motion_v, packet.slope_v, block.x + middle, block.v);
    Limits limits;
    if (Partial) limits = limits_of(packet, block.x);
    const Lanes zero(0.0f), one(1.0f);
    Lanes sum_entry = zero, sum_middle = zero, sum_exit = zero;
    constexpr bool kInSquares = kHasPairs && What == kImage;
    Squares squares(u, v, box.pitch);
    const float size_x = static_cast<float>(walk.size_x), first_x = static_cast<float>(block.x);
    const Code* const labels = static_cast<const Code*>(block.label);
    const std::int32_t* const index_of_code = Label ? index_of_codes(walk.job) : nullptr;
    // Any label that the first slab may meet will do, if it does not depend on what was walked before: the order of
    // adding shows in the last bits.
    const int first_code = Label ? labels[places.at[0] + places.column[0]] : 0;
    Following<What> following(collection, index, size_x, index_of_code, first_code);
    Lanes begin = zero, end = one;
    // Does a packet read nothing but the label it is in?
    const auto stays = [&](int s) {
        if (Partial || !Label || places.reading[s] == Reading::anywhere) return false;
        const Code* row = labels + places.at[s];
        for (int rest = places.rows[s]; rest > 0; --rest, row += box.pitch)
            if (!all_are(row, following.code(), places.column[s], places.last_column[s])) return false;
        return true;
    };
    const auto walk_slab = [&](int s, auto reading) {
        const Lanes step(steps[s]);
        if (Partial) {
            const Limits here = limits.within(Lanes(kSlabNumbers[s]));
            begin = here.begin;
            end = here.end;
        }
        const Standing in_u = standing_at(u, step, Lanes(places.from_u[s]));
        const Lanes leaves_u = in_u.leaves;
        const Index entry_u = in_u.voxel() + u.voxel;
        if (reading == Reading::one_row) {
            // Only crossings in u matter.
            const Lanes leaves = Partial ? smaller(larger(leaves_u, begin), end) : leaves_u;
            const Shares<Lanes> shares{leaves - begin, zero, end - leaves};
            const Index exit_u = entry_u + u.step;
            Met<2> met{{shares.entry, shares.exit}, {zero, zero}};
            if (Image) {
                const float* const row = block.image + places.at[s];
                met.mu[0] = as_lanes(window(row, entry_u));
                met.mu[1] = as_lanes(window(row, exit_u));
                sum_entry = multiply_add(shares.entry, met.mu[0], sum_entry);
                sum_exit = multiply_add(shares.exit, met.mu[1], sum_exit);
            }
            if (Label) {
                const Code* const row = labels + places.at[s];
                following.template slab<!Partial>(
                    met, first_x + kSlabNumbers[s], begin, Image && following.is_in_one() && stays(s),
                    [&] { return Codes<2>{{window(row, entry_u), window(row, exit_u)}}; });
            }
            return;
        }
        const Standing in_v = standing_at(v, step, Lanes(places.from_v[s]));
        const Lanes leaves_v = in_v.leaves;
        const Shares<Lanes> shares =
            Partial ? slab_shares(leaves_u, leaves_v, begin, end) : slab_shares(leaves_u, leaves_v);
        const Mask u_first = less(leaves_u, leaves_v);
        const auto collect = [&](const auto& read) {
            Met<3> met{{shares.entry, shares.middle, shares.exit}, {zero, zero, zero}};
            if (Image) {
                const Codes<3> mu = read(block.image + places.at[s]);
                for (int i = 0; i < 3; ++i) met.mu[i] = as_lanes(mu.code[i]);
                sum_entry = multiply_add(shares.entry, met.mu[0], sum_entry);
                sum_middle = multiply_add(shares.middle, met.mu[1], sum_middle);
                sum_exit = multiply_add(shares.exit, met.mu[2], sum_exit);
            }
            if (Label) {
                const Code* const from = labels + places.at[s];
                following.template slab<!Partial>(met, first_x + kSlabNumbers[s], begin,
                                                  Image && following.is_in_one() && stays(s),
                                                  [&] { return read(from); });
            }
        };
        const auto collect_patch = [&](auto number) {
            constexpr ReadingShape shape = kPatches[decltype(number)::value];
            const int shift = kRegisterShift + shape.registers - 1;
            const Index across_v = shifted(v.step, shift), across_both = u.step + across_v;
            const Index entry = shifted(in_v.voxel(), shift) + in_u.voxel() + (shifted(v.voxel, shift) + u.voxel);
            const Index middle_at = entry + choose(u_first, u.step, across_v), exit_at = entry + across_both;
            collect([&](const auto* from) {
                const Patch<shape.rows * shape.registers> patch(from, box.pitch, shape.registers);
                return Codes<3>{{patch.pick(entry), patch.pick(middle_at), patch.pick(exit_at)}};
            });
        };
        switch (reading) {
            case Reading::tall_patch_of_4:
                collect_patch(std::integral_constant<int, Reading::tall_patch_of_4>());
                break;
            case Reading::wide_patch_of_4:
                collect_patch(std::integral_constant<int, Reading::wide_patch_of_4>());
                break;
            case Reading::tall_patch_of_6:
                collect_patch(std::integral_constant<int, Reading::tall_patch_of_6>());
                break;
            case Reading::tall_patch_of_8:
                collect_patch(std::integral_constant<int, Reading::tall_patch_of_8>());
                break;
            case Reading::wide_patch_of_8:
                collect_patch(std::integral_constant<int, Reading::wide_patch_of_8>());
                break;
            case Reading::wide_patch_of_12:
                collect_patch(std::integral_constant<int, Reading::wide_patch_of_12>());
                break;
            default: {
                if (kInSquares && squares.alike())
                    return squares.add(block.image + places.at[s], in_u, in_v, shares, u_first);
                const LaneByLane at(u, v, in_u, in_v, shares, u_first, box.pitch);
                collect([&](const auto* from) { return at.read(from); });
            }
        }
    };
    const auto each_of = [&](std::uint32_t slabs, const auto& walk_one) {
        for (; slabs; slabs &= slabs - 1) {
            const int s = __builtin_ctz(slabs);
            if (s % kAskSlabs == 0) next.ask();
            walk_one(s);
        }
    };
    if constexpr (What == kImage) {
        // One reading after the other: from slab to slab they change as no processor can foresee.
        const auto walk_read_so = [&](auto reading) {
            each_of(wanted & places.read_so[reading], [&](int s) { walk_slab(s, reading); });
        };
        walk_read_so(std::integral_constant<int, Reading::one_row>());
        if constexpr (kHasPatches) {
            walk_read_so(std::integral_constant<int, Reading::tall_patch_of_4>());
            walk_read_so(std::integral_constant<int, Reading::wide_patch_of_4>());
            walk_read_so(std::integral_constant<int, Reading::tall_patch_of_6>());
            walk_read_so(std::integral_constant<int, Reading::tall_patch_of_8>());
            walk_read_so(std::integral_constant<int, Reading::wide_patch_of_8>());
            walk_read_so(std::integral_constant<int, Reading::wide_patch_of_12>());
        }
        walk_read_so(std::integral_constant<int, Reading::anywhere>());
    } else {
        each_of(wanted, [&](int s) {
            if (!Image && following.is_in_one() && stays(s))
                following.stay();
            else
                walk_slab(s, places.reading[s]);
        });
    }
    if (kInSquares) sum_middle = sum_middle + squares.total();
    if (Image) (Lanes::load(packet.sum) + (sum_entry + sum_middle + sum_exit)).store(packet.sum);
    if (Label) following.settle(first_x + static_cast<float>(slabs));
}

}  // namespace
}  // namespace DRRPROJ_ISA
}  // namespace drrproj
