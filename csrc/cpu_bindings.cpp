// Python face of the CPU engine. Checks what protects memory; everything else was checked in Python.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cpu.h"

namespace py = pybind11;
using drrproj::NumberType;

namespace {

using Matrix = py::array_t<double, py::array::c_style | py::array::forcecast>;

NumberType number_type(const py::array& array) {
    const py::dtype type = array.dtype();
    // numpy marks some native arrays '<' or '>' and others '=': only isnative tells.
    if (!type.attr("isnative").cast<bool>()) throw py::type_error("voxels must have native byte order");
    switch (type.kind()) {
        case 'i':
            switch (type.itemsize()) {
                case 1:
                    return NumberType::int8;
                case 2:
                    return NumberType::int16;
                case 4:
                    return NumberType::int32;
                case 8:
                    return NumberType::int64;
                default:
                    break;
            }
            break;
        case 'u':
            switch (type.itemsize()) {
                case 1:
                    return NumberType::uint8;
                case 2:
                    return NumberType::uint16;
                case 4:
                    return NumberType::uint32;
                case 8:
                    return NumberType::uint64;
                default:
                    break;
            }
            break;
        case 'f':
            if (type.itemsize() == 4) return NumberType::float32;
            if (type.itemsize() == 8) return NumberType::float64;
            break;
        default:
            break;
    }
    throw py::type_error("voxels of type " + py::str(static_cast<py::object>(type)).cast<std::string>() +
                         " cannot be walked");
}

drrproj::Grid grid_of(const py::array& array, const Matrix& voxel_from_world, const Matrix& world_from_voxel) {
    if (array.ndim() != 3) throw py::value_error("voxels must be 3-D");
    if (voxel_from_world.size() != 16 || world_from_voxel.size() != 16)
        throw py::value_error("grid matrices must be 4x4");
    drrproj::Grid grid{};
    grid.voxels = array.data();
    grid.type = number_type(array);
    for (int axis = 0; axis < 3; ++axis) {
        grid.size[axis] = array.shape(axis);
        grid.stride[axis] = array.strides(axis);
    }
    std::copy_n(voxel_from_world.data(), 16, grid.voxel_from_world);
    std::copy_n(world_from_voxel.data(), 16, grid.world_from_voxel);
    return grid;
}

// Keeps the arrays alive and their description ready: project many times.
struct Prepared {
    py::array volume, labels;
    std::optional<drrproj::Grid> volume_grid, label_grid;
    std::vector<float> knots, slope_changes;
    std::vector<std::int64_t> label_ids;
    drrproj::Shared shared;
};

Prepared prepare(std::optional<py::array> volume, std::optional<Matrix> volume_voxel_from_world,
                 std::optional<Matrix> volume_world_from_voxel, std::vector<float> knots,
                 std::vector<float> slope_changes, std::optional<py::array> labels,
                 std::optional<Matrix> labels_voxel_from_world, std::optional<Matrix> labels_world_from_voxel,
                 std::vector<std::int64_t> label_ids) {
    Prepared prepared;
    if (knots.size() != slope_changes.size()) throw py::value_error("one slope change per knot");
    if (volume) {
        if (!volume_voxel_from_world || !volume_world_from_voxel) throw py::value_error("a volume needs its matrices");
        prepared.volume = *volume;
        prepared.volume_grid = grid_of(*volume, *volume_voxel_from_world, *volume_world_from_voxel);
    }
    if (labels) {
        if (!labels_voxel_from_world || !labels_world_from_voxel) throw py::value_error("labels need their matrices");
        prepared.labels = *labels;
        prepared.label_grid = grid_of(*labels, *labels_voxel_from_world, *labels_world_from_voxel);
        if (prepared.label_grid->type == NumberType::float32 || prepared.label_grid->type == NumberType::float64)
            throw py::type_error("labels must be integers");
    }
    for (std::size_t i = 1; i < label_ids.size(); ++i)
        if (label_ids[i - 1] >= label_ids[i]) throw py::value_error("label ids must ascend");
    prepared.knots = std::move(knots);
    prepared.slope_changes = std::move(slope_changes);
    prepared.label_ids = std::move(label_ids);
    return prepared;
}

// A new array of zeros from numpy itself: calloc leaves pages that no ray touches unmapped.
template <class Number>
py::array_t<Number> zeros(const std::vector<py::ssize_t>& shape) {
    return py::module_::import("numpy")
        .attr("zeros")(shape, py::dtype::of<Number>())
        .template cast<py::array_t<Number>>();
}

py::dict trace(const Prepared& prepared, const Matrix& views, std::pair<std::int64_t, std::int64_t> shape,
               const std::vector<std::string>& outputs, int threads) {
    if (views.ndim() != 3 || views.shape(1) != 4 || views.shape(2) != 4)
        throw py::value_error("views must be (n, 4, 4)");
    const auto [rows, columns] = shape;
    if (rows < 1 || columns < 1 || rows > INT32_MAX || columns > INT32_MAX) throw py::value_error("bad detector shape");
    if (threads < 1) throw py::value_error("threads must be positive");
    const py::ssize_t count = views.shape(0);
    const auto channels = static_cast<py::ssize_t>(prepared.label_ids.size());
    py::dict results;
    drrproj::Outputs memory{};
    for (const std::string& output : outputs) {
        if (output == "line_integral" && prepared.volume_grid) {
            auto array = zeros<float>({count, rows, columns});
            memory.line_integral = array.mutable_data();
            results[output.c_str()] = array;
        } else if (output == "path_length" && prepared.label_grid) {
            auto array = zeros<float>({channels, count, rows, columns});
            memory.path_length = array.mutable_data();
            results[output.c_str()] = array;
        } else if (output == "mask" && prepared.label_grid) {
            auto array = zeros<std::uint8_t>({channels, count, rows, (columns + 7) / 8});
            memory.mask = array.mutable_data();
            results[output.c_str()] = array;
        } else {
            throw py::value_error("output '" + output + "' cannot be made from what was prepared");
        }
    }
    const drrproj::Scene scene{
        prepared.volume_grid ? &*prepared.volume_grid : nullptr,
        prepared.label_grid ? &*prepared.label_grid : nullptr,
        {prepared.knots.data(), prepared.slope_changes.data(), static_cast<std::int32_t>(prepared.knots.size())},
        {prepared.label_ids.data(), channels}};
    {
        const py::gil_scoped_release released;
        const auto interrupted = [] {
            const py::gil_scoped_acquire acquired;
            return PyErr_CheckSignals() != 0;
        };
        drrproj::project(scene, {views.data(), count, rows, columns}, memory, threads, interrupted, prepared.shared);
    }
    if (PyErr_Occurred()) throw py::error_already_set();
    return results;
}

}  // namespace

PYBIND11_MODULE(_cpu, module) {
    module.doc() = "The exact walk in C++, for every instruction set of this machine.";
    py::class_<Prepared>(module, "Prepared", "Arrays described for the walk; keeps them alive.");
    module.def("prepare", &prepare, py::kw_only(), py::arg("volume"), py::arg("volume_voxel_from_world"),
               py::arg("volume_world_from_voxel"), py::arg("knots"), py::arg("slope_changes"), py::arg("labels"),
               py::arg("labels_voxel_from_world"), py::arg("labels_world_from_voxel"), py::arg("label_ids"));
    module.def("trace", &trace, py::arg("prepared"), py::arg("views"), py::arg("shape"), py::arg("outputs"),
               py::arg("threads"));
    module.def("why_unavailable", [] { return std::optional<std::string>(); });
    module.def("instruction_sets", &drrproj::instruction_sets);
    module.def("instruction_set", &drrproj::instruction_set);
    module.def("use_instruction_set", &drrproj::use_instruction_set, py::arg("name"));
}
