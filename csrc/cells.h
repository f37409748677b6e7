// Whether a part of the volume may hold anything, by the cells that were looked into.
#pragma once

#include <cstdint>

#include "block.h"
#include "brick.h"
#include "job.h"
#include "rays.h"

namespace drrproj {
namespace DRRPROJ_ISA {
namespace {

// A part of index space, by array axis.
struct Region {
    double low[3], high[3];
};

bool may_hold_something(const Cells& cells, const Region& region) {
    if (!cells.hold_something) return true;
    std::int64_t first[3], last[3];
    for (int axis = 0; axis < 3; ++axis) {
        first[axis] = clamp(floor_of(region.low[axis]) / kCellVoxels, 0, cells.count[axis] - 1);
        last[axis] = clamp(floor_of(region.high[axis]) / kCellVoxels, 0, cells.count[axis] - 1);
    }
    for (std::int64_t i = first[0]; i <= last[0]; ++i)
        for (std::int64_t j = first[1]; j <= last[1]; ++j)
            for (std::int64_t k = first[2]; k <= last[2]; ++k)
                if (cells.hold_something[(i * cells.count[1] + j) * cells.count[2] + k]) return true;
    return false;
}

bool may_hold_something(const Job& job, const Region& region) {
    return (job.image && may_hold_something(job.image_cells, region)) ||
           (job.label && may_hold_something(job.label_cells, region));
}

Region region_of(const Box& box) {
    Region region;
    region.low[box.axis_x] = static_cast<double>(box.x);
    region.high[box.axis_x] = static_cast<double>(box.x + box.slabs - 1);
    const int last = box.slabs - 1;
    // Corners move steadily from slab to slab.
    region.low[box.axis_u] = static_cast<double>(smaller(box.u[0], box.u[last]));
    region.high[box.axis_u] = static_cast<double>(larger(box.u[0], box.u[last]) + box.width - 1);
    region.low[box.axis_v] = static_cast<double>(smaller(box.v[0], box.v[last]));
    region.high[box.axis_v] = static_cast<double>(larger(box.v[0], box.v[last]) + box.rows - 1);
    return region;
}

Region region_of(const Walk& walk, const Box& box, int packet) {
    const double begin = static_cast<double>(box.x) - walk.begin, end = begin + box.slabs;
    Region region;
    region.low[box.axis_x] = static_cast<double>(box.x);
    region.high[box.axis_x] = static_cast<double>(box.x + box.slabs - 1);
    const auto span = [&](int axis, const Bound& low, const Bound& high) {
        region.low[axis] = smaller(low.at(packet, begin), low.at(packet, end)) - kBoxMargin;
        region.high[axis] = larger(high.at(packet, begin), high.at(packet, end)) + kBoxMargin;
    };
    span(box.axis_u, walk.extents.u_low, walk.extents.u_high);
    span(box.axis_v, walk.extents.v_low, walk.extents.v_high);
    return region;
}

}  // namespace
}  // namespace DRRPROJ_ISA
}  // namespace drrproj
