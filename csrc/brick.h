// Staging: a box of voxels, copied from any memory order and number type into a brick with u contiguous.
//
// Voxels outside the grid become 0, so the walk needs no bounds. An image's voxels become floats, attenuation applied
// once per voxel; labels become codes: 8 bits where they tell the values apart, else 16. Slab s of the brick starts at
// its own (u, v) corner: the box follows slanted rays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "job.h"
#include "lanes.h"
#include "numbers.h"
#include "walk.h"

namespace drrproj {
namespace DRRPROJ_ISA {

constexpr int kRuns = kBlockSlabs / kRunSlabs;

struct Box {
    int axis_x, axis_u, axis_v;                   // which array axis each coordinate is
    std::int64_t x;                               // first slab
    int slabs, rows, width, pitch;                // slabs * rows * pitch voxels, of which width are used
    std::int64_t u[kBlockSlabs], v[kBlockSlabs];  // corner of each slab
    bool upright;  // x is the contiguous axis: all slabs share a corner, so that x can be read in runs
    // What of an upright box the rays meet in each run of kRunSlabs slabs; the rest is not staged.
    int first_row[kRuns], last_row[kRuns], first_column[kRuns], last_column[kRuns];
    // The columns of its first row that they meet in any slab, and how much further those of the next row lie.
    double strip_low, strip_high, strip_step;

    int slab_size() const { return rows * pitch; }
    // The columns of a row of an upright box that rays meet, from where a line of the cache begins.
    int column_from(int row) const { return within(strip_low + row * strip_step) / kLineFloats * kLineFloats; }
    int column_to(int row) const { return within(strip_high + row * strip_step + 1.0); }

  private:
    int within(double column) const { return column < 0.0 ? 0 : column < width ? static_cast<int>(column) : width; }
};

inline float not_nan(float value) { return value == value ? value : 0.0f; }
inline Lanes not_nan(Lanes values) { return choose(equal(values, values), values, Lanes(0.0f)); }

inline float where_above(float value, float knot, float then, float otherwise) {
    return value > knot ? then : otherwise;
}
inline Lanes where_above(Lanes value, Lanes knot, Lanes then, Lanes otherwise) {
    return choose(less(knot, value), then, otherwise);
}

// What becomes of a voxel on its way into the brick: of a float, or of a packet of them.
struct ToAttenuation {
    using Voxel = float;
    Attenuation law;
    template <class Real>
    Real operator()(Real value) const {
        // Each piece from its own knot: slopes added up would cancel where the law jumps. Not a number is above
        // nothing.
        Real mu(0.0f);
        for (int i = 0; i < law.bends; ++i) {
            const Real knot(law.knot[i]), piece = Real(law.slope[i]) * (value - knot) + Real(law.height[i]);
            mu = where_above(value, knot, piece, mu);
        }
        return mu;
    }
};

// Two bends (the bilinear law) are the everyday case: its constants stay in registers. `larger` returns its second
// argument for NaN.
struct ToAttenuationBilinear {
    using Voxel = float;
    float knot_0, change_0, knot_1, change_1;
    template <class Real>
    Real operator()(Real value) const {
        return Real(change_0) * larger(value - Real(knot_0), Real(0.0f)) +
               Real(change_1) * larger(value - Real(knot_1), Real(0.0f));
    }
};

struct AsIs {
    using Voxel = float;
    template <class Real>
    Real operator()(Real value) const {
        return not_nan(value);
    }
};

// Numbers of 8 bits are their own codes.
struct ToSameCode {
    using Voxel = std::uint8_t;
    std::int32_t operator()(std::uint8_t value) const { return value; }
};

// Elsewhere the code is 1 + index of the value.
template <class Code>
struct ToIndexSmall {
    using Voxel = Code;
    const std::int32_t* index_of_value;
    std::int32_t operator()(std::int16_t value) const { return index_of_value[static_cast<std::uint16_t>(value)]; }
    std::int32_t operator()(std::uint16_t value) const { return index_of_value[value]; }
};

template <class Code>
struct ToIndexWide {
    using Voxel = Code;
    Structures structures;
    template <class Number>
    std::int32_t operator()(Number number) const {
        const std::int64_t value = static_cast<std::int64_t>(number);
        if (value == 0) return 0;
        return static_cast<std::int32_t>(code_of(structures.values, structures.value_count, value));
    }
};

inline std::int64_t larger(std::int64_t a, std::int64_t b) { return a > b ? a : b; }
inline std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
inline int smaller(int a, int b) { return a < b ? a : b; }

// Whether any staged voxel was not zero.
struct Seen {
    Index packets = broadcast(0);
    bool single = false;
    void include(Index voxels) { packets = either(packets, voxels); }
    template <class Voxel>
    void include_one(Voxel voxel) {
        single = single || voxel != Voxel(0);
    }
    bool any() const { return single || any_nonzero(packets); }
};

// A voxel on its way into the brick, and a packet of them.
template <class Number, class Convert, class Voxel = typename Convert::Voxel>
inline Voxel converted_one(const Number* from, Convert convert) {
    if constexpr (std::is_same<Voxel, float>::value)
        return convert(static_cast<float>(*from));
    else
        return static_cast<Voxel>(convert(*from));
}

template <class Number, class Convert>
inline Index converted(const Number* from, Convert convert) {
    if constexpr (std::is_same<Convert, ToSameCode>::value) {
        return load_voxels(from);
    } else if constexpr (std::is_same<typename Convert::Voxel, float>::value) {
        return bits_of(convert(load_numbers(from)));
    } else {
        // Anatomy comes in runs: most packets hold one label, and looking it up once is four times faster.
        Number difference = 0;
        for (int i = 0; i < Lanes::width; ++i) difference = static_cast<Number>(difference | (from[i] ^ from[0]));
        if (difference == 0) return broadcast(convert(from[0]));
        typename Convert::Voxel codes[Lanes::width];
        for (int i = 0; i < Lanes::width; ++i) codes[i] = converted_one(from + i, convert);
        return load_voxels(codes);
    }
}

template <class Voxel>
inline void reverse(Voxel* row, int count) {
    int low = 0, high = count - Lanes::width;
    for (; low + Lanes::width <= high; low += Lanes::width, high -= Lanes::width) {
        const Lanes first = as_lanes(load_voxels(row + low)), last = as_lanes(load_voxels(row + high));
        store_voxels(row + low, bits_of(reversed(last)));
        store_voxels(row + high, bits_of(reversed(first)));
    }
    for (high += Lanes::width - 1; low < high; ++low, --high) {
        const Voxel first = row[low];
        row[low] = row[high];
        row[high] = first;
    }
}

// A row along u. Where its voxels are neighbours in memory it is taken a packet at a time, the last one overlapping.
template <class Number, class Convert, class Voxel = typename Convert::Voxel>
inline void stage_row(const char* from, std::int64_t stride, int count, Voxel* to, Convert convert, Seen& seen) {
    if constexpr (std::is_same<Convert, ToSameCode>::value) {
        constexpr int kAtOnce = 64;
        if (stride == 1 && count >= kAtOnce) {
            Index any = broadcast(0);
            for (int next = 0; next < count; next += kAtOnce) {
                const char* const some = from + smaller(next, count - kAtOnce);
                for (int k = 0; k < kAtOnce; k += static_cast<int>(sizeof(Index)))
                    any = either(any, load_bits(some + k));
                __builtin_memcpy(to + (some - from), some, kAtOnce);
            }
            return seen.include(any);
        }
    }
    if (stride == static_cast<std::int64_t>(sizeof(Number)) && count >= Lanes::width) {
        const Number* numbers = reinterpret_cast<const Number*>(from);
        Index any = broadcast(0);
        for (int next = 0; next < count; next += Lanes::width) {
            const int i = smaller(next, count - Lanes::width);
            const Index voxels = converted(numbers + i, convert);
            any = either(any, voxels);
            store_voxels(to + i, voxels);
        }
        return seen.include(any);
    }
    if (stride == -static_cast<std::int64_t>(sizeof(Number)) && count >= Lanes::width) {
        stage_row<Number>(from + (count - 1) * stride, -stride, count, to, convert, seen);
        return reverse(to, count);
    }
    for (int i = 0; i < count; ++i, from += stride) {
        to[i] = converted_one(reinterpret_cast<const Number*>(from), convert);
        seen.include_one(to[i]);
    }
}

// A row too narrow for squares, or a volume too thin.
template <class Number, class Convert, class Voxel = typename Convert::Voxel>
void stage_turned_narrow(const char* from, std::int64_t stride_x, std::int64_t stride_u, int count, int slabs,
                         std::ptrdiff_t slab_size, Voxel* to, Convert convert, Seen& seen) {
    for (int u = 0; u < count; ++u) {
        for (int s = 0; s < slabs; ++s) {
            const char* at = from + u * stride_u + s * stride_x;
            to[s * slab_size + u] = converted_one(reinterpret_cast<const Number*>(at), convert);
            seen.include_one(to[s * slab_size + u]);
        }
    }
}

// Do N rows of N numbers hold the same one everywhere?
template <class Number>
inline bool is_uniform(const char* from, std::int64_t stride) {
    using Code = std::conditional_t<sizeof(Number) == 1, std::uint8_t, std::uint16_t>;
    const Code first = *reinterpret_cast<const Code*>(from);
    for (int i = 0; i < Lanes::width; ++i)
        if (!all_are<Lanes::width>(reinterpret_cast<const Code*>(from + i * stride), first)) return false;
    return true;
}

// Part of a row along u, for slabs whose voxels are neighbours along x.
struct Turned {
    const Box& box;
    int row, column;   // in the box, of the first voxel
    const char* from;  // that voxel, in the first slab
    std::int64_t stride_x, stride_u, stride_v;
    int count;
    std::int64_t before, after;  // voxels that the array has before the first slab, and from it on

    bool needs(int run, int in_row) const {
        return run * kRunSlabs < box.slabs && in_row >= box.first_row[run] && in_row <= box.last_row[run];
    }
    bool needs(int run, int in_row, int from_column, int columns) const {
        return needs(run, in_row) && from_column + columns > box.first_column[run] &&
               from_column <= box.last_column[run];
    }
};

// Runs asked for so many runs ahead come in time, and do not yet evict each other.
constexpr int kRunsAhead = 48;

// Read along x, turned in registers.
template <class Number, class Convert, class Voxel = typename Convert::Voxel>
inline void stage_turned(const Turned& row, std::ptrdiff_t slab_size, Voxel* to, Convert convert, Seen& seen) {
    constexpr int N = Lanes::width;
    constexpr std::int64_t kRunBytes = kRunSlabs * static_cast<std::int64_t>(sizeof(Number));
    const int all_slabs = row.box.slabs;
    if (row.count < N || row.before + row.after < N)
        return stage_turned_narrow<Number>(row.from, row.stride_x, row.stride_u, row.count, all_slabs, slab_size, to,
                                           convert, seen);
    // Where x runs backwards through memory, what is read together begins with its last slab.
    const bool backwards = row.stride_x < 0;
    Index any = broadcast(0);
    const int groups = (row.count + N - 1) / N;
    for (int group = 0; group < groups; ++group) {
        const auto first_of = [&](int some_group) { return smaller(some_group * N, row.count - N); };
        const int u = first_of(group), later = group + kRunsAhead / N, rows_later = later / groups;
        if (row.row + rows_later < row.box.rows) {
            const char* ahead = row.from + rows_later * row.stride_v + first_of(later % groups) * row.stride_u;
            // Lines that are neighbours are asked for together: they come at nearly twice the rate of single ones.
            for (int run = 0; run < kRuns; ++run)
                if (row.needs(run, row.row + rows_later)) {
                    const char* first = ahead + (run * kRunSlabs + (backwards ? kRunSlabs - 1 : 0)) * row.stride_x;
                    for (int i = 0; i < N; ++i, first += row.stride_u)
                        for (std::int64_t byte = 0; byte < kRunBytes; byte += 64)
                            __builtin_prefetch(first + byte, 0, 2);
                }
        }
        for (int s = 0; s < all_slabs; s += N) {
            if (!row.needs(s / kRunSlabs, row.row, row.column + u, N)) continue;
            // Where the array ends within the square, the square begins earlier.
            const int back = static_cast<int>(larger(0, s + N - row.after)), slabs = smaller(N, all_slabs - s);
            // Runs lie far apart and share few sets of the cache: each line is read once, at once.
            alignas(64) float square[N][N];
            const char* from = row.from + u * row.stride_u + (s - back + (backwards ? N - 1 : 0)) * row.stride_x;
            if constexpr (!std::is_same<Voxel, float>::value && sizeof(Number) <= 2) {
                // Inside of a structure there is nothing to turn.
                if (slabs == N && back == 0 && is_uniform<Number>(from, row.stride_u)) {
                    const Index code = broadcast(convert(*reinterpret_cast<const Number*>(from)));
                    any = either(any, code);
                    for (int j = 0; j < N; ++j) store_voxels(to + (s + j) * slab_size + u, code);
                    continue;
                }
            }
            for (int i = 0; i < N; ++i, from += row.stride_u)
                as_lanes(converted(reinterpret_cast<const Number*>(from), convert)).store(square[i]);
            // Compilers would keep the square in registers, and turn it with twice the shuffles.
            asm volatile("" : : "r"(square) : "memory");
            Voxel* const column = to + s * slab_size + u;
            const auto put = [&](int j, Lanes values) {
                any = either(any, bits_of(values));
                store_voxels(column + j * slab_size, bits_of(values));
            };
            if (slabs == N && back == 0 && !backwards)
                transpose(square[0], N, put);
            else
                transpose(square[0], N, [&](int j, Lanes values) {
                    const int slab = (backwards ? N - 1 - j : j) - back;
                    if (slab >= 0 && slab < slabs) put(slab, values);
                });
        }
    }
    seen.include(any);
}

inline std::int64_t clamp(std::int64_t value, std::int64_t low, std::int64_t high) {
    return value < low ? low : value > high ? high : value;
}

// Whole lines of the brick, which hold the voxels from `from` to `to` and perhaps some more of the row.
template <class Voxel>
inline void clear(Voxel* row, std::int64_t from, std::int64_t to) {
    for (std::int64_t i = from / kLineFloats * kLineFloats; i < to; i += kLineFloats)
        __builtin_memset(row + i, 0, kLineFloats * sizeof(Voxel));
}

// Copy one row of voxels, for all slabs of the box, into the brick; false when every value is zero.
template <class Number, class Convert, class Voxel = typename Convert::Voxel>
bool stage(const Grid& grid, const Box& box, int row, Voxel* brick, Convert convert) {
    const char* voxels = static_cast<const char*>(grid.voxels) + box.x * grid.stride[box.axis_x];
    const std::int64_t stride_x = grid.stride[box.axis_x];
    const std::int64_t stride_u = grid.stride[box.axis_u], size_u = grid.size[box.axis_u];
    const std::int64_t stride_v = grid.stride[box.axis_v], size_v = grid.size[box.axis_v];
    const std::ptrdiff_t slab_size = box.slab_size();
    Voxel* to = brick + static_cast<std::ptrdiff_t>(row) * box.pitch;
    Seen seen;
    if (box.upright && (stride_x < 0 ? -stride_x : stride_x) == static_cast<std::int64_t>(sizeof(Number))) {
        const std::int64_t u_begin = clamp(box.u[0], 0, size_u), u_end = clamp(box.u[0] + box.width, 0, size_u);
        const std::int64_t v = box.v[0] + row;
        const bool outside = v < 0 || v >= size_v || u_begin == u_end;
        for (int i = 0; i < box.slabs; ++i) {
            clear(to + i * slab_size, 0, outside ? box.width : u_begin - box.u[0]);
            clear(to + i * slab_size, outside ? box.width : u_end - box.u[0], box.width);
        }
        // What is read of labels decides how they are walked, whether a ray meets it or not: they need all of the row.
        constexpr bool kStrip = std::is_same<Voxel, float>::value;
        const std::int64_t u_first = kStrip ? clamp(box.u[0] + box.column_from(row), u_begin, u_end) : u_begin;
        const std::int64_t u_last = kStrip ? clamp(box.u[0] + box.column_to(row), u_begin, u_end) : u_end;
        if (!outside && u_first < u_last)
            stage_turned<Number>(
                {box, row, static_cast<int>(u_first - box.u[0]), voxels + v * stride_v + u_first * stride_u, stride_x,
                 stride_u, stride_v, static_cast<int>(u_last - u_first), box.x, grid.size[box.axis_x] - box.x},
                slab_size, to + (u_first - box.u[0]), convert, seen);
        return seen.any();
    }
    for (int s = 0; s < box.slabs; ++s, to += slab_size) {
        const std::int64_t v = box.v[s] + row;
        const std::int64_t u_begin = clamp(box.u[s], 0, size_u), u_end = clamp(box.u[s] + box.width, 0, size_u);
        const bool outside = v < 0 || v >= size_v || u_begin == u_end;
        clear(to, 0, outside ? box.width : u_begin - box.u[s]);
        clear(to, outside ? box.width : u_end - box.u[s], box.width);
        if (!outside)
            stage_row<Number>(voxels + s * stride_x + v * stride_v + u_begin * stride_u, stride_u,
                              static_cast<int>(u_end - u_begin), to + (u_begin - box.u[s]), convert, seen);
    }
    return seen.any();
}

// Call `use` with a number of the image's type, and with what makes attenuation of it.
template <class Use>
bool with_image(const Job& job, const Use& use) {
    const Attenuation& law = job.attenuation;
    return with_number(job.image->type, [&](auto number) {
        if (law.bends == 0) return use(number, AsIs{});
        // Slopes may be added up where little cancels.
        if (law.bends == 2 && law.slope[1] > 0.1f * law.slope[0])
            return use(number,
                       ToAttenuationBilinear{law.knot[0], law.slope[0], law.knot[1], law.slope[1] - law.slope[0]});
        return use(number, ToAttenuation{law});
    });
}

// Fill a row of the brick with attenuation; false when all of it is zero.
__attribute__((noinline)) inline bool stage_image(const Job& job, const Box& box, int row, float* brick) {
    return with_image(
        job, [&](auto number, auto convert) { return stage<decltype(number)>(*job.image, box, row, brick, convert); });
}

// Call `use` with a number of the labels' type, and with what makes a code of it: an 8-bit number itself, elsewhere 1 +
// index of the value.
template <class Code, class Use>
bool with_label(const Job& job, const Use& use) {
    const ToIndexSmall<Code> small{job.index_of_small_value};
    const ToIndexWide<Code> wide{job.structures};
    switch (job.label->type) {
        case NumberType::int8:
        case NumberType::uint8:
            return use(std::uint8_t{}, ToSameCode{});
        case NumberType::int16:
            return use(std::int16_t{}, small);
        case NumberType::uint16:
            return use(std::uint16_t{}, small);
        case NumberType::int32:
            return use(std::int32_t{}, wide);
        case NumberType::uint32:
            return use(std::uint32_t{}, wide);
        case NumberType::int64:
            return use(std::int64_t{}, wide);
        case NumberType::uint64:
            return use(std::uint64_t{}, wide);
        default:
            return false;  // the binding refuses floats
    }
}

// Fill a row of the brick with codes; false when all of it is background.
__attribute__((noinline)) inline bool stage_label(const Job& job, const Box& box, int row, void* brick) {
    const auto stage_as = [&](auto number, auto convert) {
        using Convert = decltype(convert);
        return stage<decltype(number)>(*job.label, box, row, static_cast<typename Convert::Voxel*>(brick), convert);
    };
    return job.wide_codes ? with_label<std::uint16_t>(job, stage_as) : with_label<std::uint8_t>(job, stage_as);
}

// The cache lines that the rows of a box lie in, to be asked for a few at a time.
class Lines {
  public:
    Lines() = default;
    Lines(const Grid& grid, const Box& box)
        : grid_(&grid), box_(&box), per_run_(static_cast<int>((box.width * bytes_of(grid, box) + 63) / 64) + 1) {}
    // From a voxel of a run to the next.
    static std::int64_t bytes_of(const Grid& grid, const Box& box) {
        const std::int64_t stride = grid.stride[box.axis_u];
        return stride < 0 ? -stride : stride;
    }
    int per_row() const { return box_->slabs * per_run_; }
    int rows_asked() const { return row_; }

    // Ask for `count` lines more, and the rest of the last one's run, from slab to slab and row to row.
    void ask(int count) {
        for (owed_ += count; owed_ > 0 && row_ < box_->rows; owed_ -= per_run_) {
            const std::int64_t v = box_->v[slab_] + row_;
            if (v >= 0 && v < grid_->size[box_->axis_v]) ask_for_run(v);
            if (++slab_ < box_->slabs) continue;
            slab_ = 0;
            ++row_;
        }
    }

  private:
    // Compilers take a function that does nothing but ask for one that does nothing.
    __attribute__((always_inline)) void ask_for_run(std::int64_t v) const {
        const std::int64_t lowest = grid_->stride[box_->axis_u] < 0 ? box_->u[slab_] + box_->width - 1 : box_->u[slab_];
        const std::int64_t u = clamp(lowest, 0, grid_->size[box_->axis_u] - 1);
        const char* const run = static_cast<const char*>(grid_->voxels) +
                                (box_->x + slab_) * grid_->stride[box_->axis_x] + u * grid_->stride[box_->axis_u] +
                                v * grid_->stride[box_->axis_v];
        for (int line = 0; line < per_run_; ++line) __builtin_prefetch(run + line * 64, 0, 2);
    }

    const Grid* grid_ = nullptr;
    const Box* box_ = nullptr;
    int per_run_ = 0, row_ = 0, slab_ = 0, owed_ = 0;
};

// Stages a box while something else goes on: each step asks memory for a few lines and copies the rows whose lines were
// asked for at least a row ago, so that waiting for memory and walking rays take place together.
class Staging {
  public:
    Staging() = default;
    Staging(const Job& job, const Box& box, float* image, void* label, int steps)
        : job_(&job), box_(&box), image_(image), label_(label) {
        // Upright boxes ask for their own lines while they are staged: many short runs evict each other when they wait.
        if (box.upright) return;
        // Nor is there a point where voxels of a row are not neighbours: each is a line of its own.
        const auto in_runs = [&](const Grid* grid) {
            return grid && Lines::bytes_of(*grid, box) > 0 && Lines::bytes_of(*grid, box) <= 8;
        };
        if (in_runs(job.image)) {
            image_lines_ = Lines(*job.image, box);
            image_quota_ = image_lines_.per_row() * box.rows / steps + 1;
        }
        if (in_runs(job.label)) {
            label_lines_ = Lines(*job.label, box);
            label_quota_ = label_lines_.per_row() * box.rows / steps + 1;
        }
    }

    void ask(int steps = 1) {
        if (image_quota_ > 0) image_lines_.ask(steps * image_quota_);
        if (label_quota_ > 0) label_lines_.ask(steps * label_quota_);
    }

    void step() {
        if (image_quota_ + label_quota_ == 0) return;
        const int asked = image_quota_ > 0 ? image_lines_.rows_asked() : label_lines_.rows_asked();
        while (row_ + 1 < asked) stage_next();
    }

    void finish() {
        if (!job_) return;
        while (row_ < box_->rows) {
            if (image_quota_ > 0 && image_lines_.rows_asked() < row_ + 2) image_lines_.ask(image_lines_.per_row());
            if (label_quota_ > 0 && label_lines_.rows_asked() < row_ + 2) label_lines_.ask(label_lines_.per_row());
            stage_next();
        }
    }

    // Whether anything but zero was staged; what is empty needs no walk.
    bool image_seen = false, label_seen = false;

  private:
    void stage_next() {
        if (job_->image) image_seen = stage_image(*job_, *box_, row_, image_) || image_seen;
        if (job_->label) label_seen = stage_label(*job_, *box_, row_, label_) || label_seen;
        ++row_;
    }

    const Job* job_ = nullptr;
    const Box* box_ = nullptr;
    float* image_ = nullptr;
    void* label_ = nullptr;
    Lines image_lines_, label_lines_;
    int image_quota_ = 0, label_quota_ = 0, row_ = 0;
};

}  // namespace DRRPROJ_ISA
}  // namespace drrproj
