// Along which axis of index space rays are steepest.
#pragma once

#include "job.h"
#include "walk.h"

namespace drrproj {
namespace DRRPROJ_ISA {

// The ray of a pixel, or of a place between pixels.
inline void ray_of(const Plan& plan, double row, double column, double point[3], double direction[3]) {
    for (int axis = 0; axis < 3; ++axis) {
        point[axis] = plan.first_pixel[axis] + row * plan.row_step[axis] + column * plan.column_step[axis];
        direction[axis] = plan.parallel ? -plan.source[axis] : point[axis] - plan.source[axis];
    }
}

// The first of equally steep ones.
inline int steepest_axis(const double direction[3]) {
    const double x = __builtin_fabs(direction[0]), y = __builtin_fabs(direction[1]), z = __builtin_fabs(direction[2]);
    return x >= y && x >= z ? 0 : y >= z ? 1 : 2;
}

// The directions with one steepest axis and sign form a convex cone: where the corners of a bundle of rays lie in one,
// all of its rays do.
class Corners {
  public:
    void include(const double direction[3]) {
        const int axis = steepest_axis(direction), cone = 2 * axis + (direction[axis] < 0.0);
        differ_ = differ_ || (cone_ >= 0 && cone != cone_);
        // Where two axes are as steep but for rounding, rays between the corners may round the other way.
        const double nearly = (1 - 1e-9) * __builtin_fabs(direction[axis]);
        for (int other = 0; other < 3; ++other)
            differ_ = differ_ || (other != axis && __builtin_fabs(direction[other]) >= nearly);
        cone_ = cone;
    }
    bool may_have(int axis) const { return differ_ || axis == cone_ / 2; }

  private:
    int cone_ = -1;
    bool differ_ = false;
};

}  // namespace DRRPROJ_ISA
}  // namespace drrproj
