// What the rays of a tile collect per label value: it grows with what a tile meets, not with the labels there are.
#pragma once

#include <cstddef>
#include <cstdint>

#include "job.h"
#include "lanes.h"

namespace drrproj {
namespace DRRPROJ_ISA {

// What is asked of a walk, as bits.
constexpr int kImage = 1, kLabel = 2, kIntegral = 4, kDepth = 8;

// What a packet collects for a value, a register of lanes each: slabs of path, integral of attenuation, and how far
// the value reaches along x, from the grid's start on and from its end on. Where depth is not asked for, memory holds
// the first two or the first one alone.
enum Quantity { path, integral, from_start, from_end };
constexpr int quantities(bool with_integral, bool with_depth) { return with_depth ? 4 : with_integral ? 2 : 1; }

constexpr int kMostPackets = kTileRays / Lanes::width;

class Collection {
  public:
    Collection(const Collected& memory, int quantities)
        : memory_(memory),
          with_depth_(quantities > Quantity::from_end),
          per_packet_(quantities * Lanes::width),
          // Slots begin in different sets of the cache.
          per_slot_(quantities * (kTileRays + kLineFloats)) {}

    // The numbers of a value, from 1 on, for a packet; a value that the tile has not met before gets a slot.
    float* of(int value, int packet) {
        std::int32_t& slot = memory_.slot_of_value[value];
        if (slot == 0) {
            memory_.value_of_slot[used_] = value;
            slot = ++used_;
        }
        touched(slot)[packet / 64] |= std::uint64_t{1} << packet % 64;
        return in_slot(slot, packet);
    }
    bool with_depth() const { return with_depth_; }
    // Slots are numbered from 1 on; 0 where the tile has not met the value.
    int slot_of(std::int64_t value) const { return memory_.slot_of_value[value]; }
    float* in_slot(int slot, int packet) const {
        return memory_.numbers + (slot - 1) * per_slot_ + static_cast<std::ptrdiff_t>(packet) * per_packet_;
    }
    // Call `use(packet)` for each packet that has met one of the slots.
    template <class Use>
    void for_each_touched(const std::int32_t* slots, int count, const Use& use) const {
        for (int word = 0; word < kMostPackets / 64; ++word) {
            std::uint64_t rest = 0;
            for (int i = 0; i < count; ++i) rest |= touched(slots[i])[word];
            for (; rest; rest &= rest - 1) use(64 * word + __builtin_ctzll(rest));
        }
    }
    template <class Use>
    void for_each_slot(const Use& use) const {
        for (std::int32_t slot = 1; slot <= used_; ++slot) use(slot);
    }
    void clear() {
        for_each_slot([&](std::int32_t slot) {
            for_each_touched(&slot, 1, [&](int packet) {
                __builtin_memset(in_slot(slot, packet), 0, static_cast<std::size_t>(per_packet_) * sizeof(float));
            });
            __builtin_memset(touched(slot), 0, kTouchedWords * sizeof(std::uint64_t));
            memory_.slot_of_value[memory_.value_of_slot[slot - 1]] = 0;
        });
        used_ = 0;
    }

  private:
    std::uint64_t* touched(int slot) const { return memory_.touched + (slot - 1) * kTouchedWords; }

    Collected memory_;
    bool with_depth_;
    std::ptrdiff_t per_packet_, per_slot_;
    int used_ = 0;
};

inline void add(float* numbers, Quantity quantity, Lanes more) {
    float* const at = numbers + quantity * Lanes::width;
    (Lanes::load(at) + more).store(at);
}
inline void raise(float* numbers, Quantity quantity, Lanes to) {
    float* const at = numbers + quantity * Lanes::width;
    larger(Lanes::load(at), to).store(at);
}

// What is read of the voxels that a slab meets: of entry, behind the first crossing, behind both.
template <int Count>
struct Codes {
    Index code[Count];
};

// The voxels that a packet meets in a slab, in their order along x: of entry, behind the first crossing, behind both.
// Without crossings in v there are two.
template <int Count>
struct Met {
    Lanes share[Count], mu[Count];
};

template <int Count>
Mask all_of(const Mask (&masks)[Count]) {
    Mask all = masks[0];
    for (int i = 1; i < Count; ++i) all = all & masks[i];
    return all;
}

// By code; null where codes are indices.
inline const std::int32_t* index_of_codes(const Job& job) {
    return size_of(job.label->type) == 1 ? job.index_of_small_value : nullptr;
}

// Follows a packet through a block. Its rays mostly stay in one label for many slabs, which are counted; the others are
// taken label by label.
template <int What>
class Following {
  public:
    // `index_of_code` is null where codes are indices.
    Following(Collection& collection, int packet, float size_x, const std::int32_t* index_of_code, int code)
        : collection_(collection), packet_(packet), size_x_(size_x), index_of_code_(index_of_code), code_(code) {}

    int code() const { return code_; }
    // Did the last slab lie in that label alone? Where it did not, the next one hardly will.
    bool is_in_one() const { return in_one_; }

    // Whole slabs of the label that the packet is in.
    void stay(int slabs = 1) { slabs_ += slabs; }

    // A slab from x on, of which the rays have the part from `begin` on. Where it is not known that they stay in their
    // label, `read()` gives the codes.
    template <bool Whole, int Count, class Read>
    void slab(const Met<Count>& met, float x, Lanes begin, bool stays, const Read& read) {
        if (Whole && stays) return count(met);
        const auto codes = read();
        if (Whole) {
            const Index code = broadcast(code_), other = broadcast(other_);
            Mask in_code[Count], same[Count], known[Count];
            for (int i = 0; i < Count; ++i) {
                in_code[i] = equal(codes.code[i], code);
                // A voxel without a share is not met, and may hold anything.
                same[i] = in_code[i] | ~positive(met.share[i]);
                known[i] = same[i] | equal(codes.code[i], other);
            }
            in_one_ = bits(all_of(same)) == all_lanes;
            if (in_one_) return count(met);
            if (!(What & kDepth) && bits(all_of(known)) == all_lanes) {
                for (int i = 0; i < Count; ++i) {
                    part_.include(in_code[i], met.share[i], met.mu[i]);
                    other_part_.include(~in_code[i], met.share[i], met.mu[i]);
                }
                parted_ = true;
                return;
            }
            settle(x);
        }
        take_apart(met, codes, x, begin);
    }

    // Keep what was counted up to x.
    void settle(float x) {
        const int value = slabs_ > 0 ? index_of(code_) : 0;
        if (value > 0) {
            float* const numbers = collection_.of(value, packet_);
            const float slabs = static_cast<float>(slabs_);
            add(numbers, Quantity::path, Lanes(slabs));
            if (What & kIntegral) add(numbers, Quantity::integral, integral_);
            if (What & kDepth) {
                raise(numbers, Quantity::from_start, Lanes(x));
                raise(numbers, Quantity::from_end, Lanes(size_x_ - (x - slabs)));
            }
        }
        slabs_ = 0;
        integral_ = Lanes(0.0f);
        if (!parted_) return;
        keep(code_, part_);
        keep(other_, other_part_);
        parted_ = false;
    }

  private:
    // What lanes have of slabs that they share with other labels.
    struct Part {
        Lanes path = Lanes(0.0f), integral = Lanes(0.0f);
        void include(Mask here, Lanes share, Lanes mu) {
            const Lanes part = choose(here, share, Lanes(0.0f));
            path = path + part;
            if (What & kIntegral) integral = multiply_add(part, mu, integral);
        }
    };
    void keep(int code, Part& part) {
        if (const int value = index_of(code); value > 0) {
            float* const numbers = collection_.of(value, packet_);
            add(numbers, Quantity::path, part.path);
            if (What & kIntegral) add(numbers, Quantity::integral, part.integral);
        }
        part = Part();
    }

    int index_of(int code) const { return index_of_code_ ? index_of_code_[code] : code; }

    template <int Count>
    void count(const Met<Count>& met) {
        ++slabs_;
        if (What & kIntegral)
            for (int i = 0; i < Count; ++i) integral_ = multiply_add(met.share[i], met.mu[i], integral_);
    }

    // Add each label's part of a slab, and look for two labels in which the rays leave it.
    template <int Count, class Codes>
    __attribute__((noinline)) void take_apart(const Met<Count>& met, const Codes& codes, float x, Lanes begin) {
        alignas(64) std::int32_t code[Count][Lanes::width];
        unsigned rest[Count];
        Lanes from[Count + 1];
        from[0] = begin + Lanes(x);
        int leaves = 0;
        for (int i = 0; i < Count; ++i) {
            codes.code[i].store(code[i]);
            const unsigned shared = bits(positive(met.share[i]));
            rest[i] = shared & ~bits(equal(codes.code[i], broadcast(0)));
            from[i + 1] = from[i] + met.share[i];
            if (shared >> (Lanes::width / 2) & 1) leaves = i;
        }
        for (int first = 0; first < Count; ++first) {
            while (rest[first]) {
                const std::int32_t one = code[first][__builtin_ctz(rest[first])];
                Lanes share(0.0f), mu(0.0f), start(0.0f), end(0.0f);
                for (int i = first; i < Count; ++i) {
                    const Mask here = equal(codes.code[i], broadcast(one)) & positive(met.share[i]);
                    const Lanes part = choose(here, met.share[i], Lanes(0.0f));
                    share = share + part;
                    if (What & kIntegral) mu = multiply_add(part, met.mu[i], mu);
                    if (What & kDepth) {
                        start = choose(here, from[i + 1], start);
                        end = larger(end, choose(here, Lanes(size_x_) - from[i], Lanes(0.0f)));
                    }
                    rest[i] &= ~bits(here);
                }
                const int value = index_of(one);
                if (value == 0) continue;
                float* const numbers = collection_.of(value, packet_);
                add(numbers, Quantity::path, share);
                if (What & kIntegral) add(numbers, Quantity::integral, mu);
                if (What & kDepth) {
                    raise(numbers, Quantity::from_start, start);
                    raise(numbers, Quantity::from_end, end);
                }
            }
        }
        code_ = code[leaves][Lanes::width / 2];
        const unsigned others = bits(positive(met.share[Count - 1]) & ~equal(codes.code[Count - 1], broadcast(code_)));
        if (others) other_ = code[Count - 1][__builtin_ctz(others)];
    }

    Collection& collection_;
    const int packet_;
    const float size_x_;
    const std::int32_t* const index_of_code_;
    int code_, slabs_ = 0;
    Lanes integral_ = Lanes(0.0f);
    // Along the border of two labels rays stay in either for many slabs, too.
    int other_ = 0;
    bool parted_ = false, in_one_ = true;
    Part part_, other_part_;
};

}  // namespace DRRPROJ_ISA
}  // namespace drrproj
