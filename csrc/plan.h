// How the rays of a view are followed: along which axis, in which order and in tiles of which shape.
#pragma once

#include <cstdint>
#include <vector>

#include "job.h"
#include "projection.h"

namespace drrproj {

// Of a tile that is read in place alone: its rays share nothing, and small ones suit any number of threads.
constexpr int kFarApartLines = 4, kFarApartLanes = 64;

// One plan per steepest axis that occurs in the view.
std::vector<Plan> plan_view(const Grid& grid, const double* view, std::int64_t rows, std::int64_t columns, int lanes);

// Do rays of the same pixels pass close to each other?
bool are_alike(const Plan& a, const Plan& b, const Grid& grid, std::int64_t rows, std::int64_t columns);

// Have x along this axis, and u along the other one whose voxels lie closer together.
void choose_axes(Plan& plan, const Grid& grid, int axis_x);

int widest_stride(const Grid& grid);

}  // namespace drrproj
