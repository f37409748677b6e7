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
    std::vector<std::int64_t> values, first_value, value_indices;
    std::vector<float> min_path_mm;
    drrproj::Shared shared;
};

Prepared prepare(std::optional<py::array> volume, std::optional<Matrix> volume_voxel_from_world,
                 std::optional<Matrix> volume_world_from_voxel, std::vector<float> knots,
                 std::vector<float> slope_changes, std::optional<py::array> labels,
                 std::optional<Matrix> labels_voxel_from_world, std::optional<Matrix> labels_world_from_voxel,
                 std::vector<std::int64_t> values, std::vector<std::int64_t> first_value,
                 std::vector<std::int64_t> value_indices, std::vector<float> min_path_mm) {
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
    for (std::size_t i = 1; i < values.size(); ++i)
        if (values[i - 1] >= values[i]) throw py::value_error("label values must ascend");
    const auto indices = static_cast<std::int64_t>(value_indices.size());
    if (first_value.size() != min_path_mm.size() + 1 || first_value.front() != 0 || first_value.back() != indices)
        throw py::value_error("structures must divide the value indices");
    for (std::size_t i = 1; i < first_value.size(); ++i) {
        if (first_value[i - 1] > first_value[i]) throw py::value_error("structures must divide the value indices");
        // A value that a structure had twice would count twice.
        for (std::int64_t k = first_value[i - 1] + 1; k < first_value[i]; ++k)
            if (value_indices[static_cast<std::size_t>(k - 1)] >= value_indices[static_cast<std::size_t>(k)])
                throw py::value_error("the value indices of a structure must ascend");
    }
    for (const std::int64_t index : value_indices)
        if (index < 0 || index >= static_cast<std::int64_t>(values.size()))
            throw py::value_error("a structure has a value that is not there");
    prepared.knots = std::move(knots);
    prepared.slope_changes = std::move(slope_changes);
    prepared.values = std::move(values);
    prepared.first_value = std::move(first_value);
    prepared.value_indices = std::move(value_indices);
    prepared.min_path_mm = std::move(min_path_mm);
    return prepared;
}

// The memory of an output, which must be there as it is: nothing is converted or copied.
template <class Number>
Number* memory_of(const py::handle& array, const std::string& output, const std::vector<py::ssize_t>& shape) {
    if (!py::isinstance<py::array_t<Number, py::array::c_style>>(array))
        throw py::type_error("output '" + output + "' must be a contiguous array of its type");
    auto numbers = py::reinterpret_borrow<py::array_t<Number, py::array::c_style>>(array);
    if (!std::equal(shape.begin(), shape.end(), numbers.shape(), numbers.shape() + numbers.ndim()))
        throw py::value_error("output '" + output + "' has another shape");
    return numbers.mutable_data();
}

void trace(const Prepared& prepared, const Matrix& views, std::pair<std::int64_t, std::int64_t> shape,
           const py::dict& outputs, int threads) {
    if (views.ndim() != 3 || views.shape(1) != 4 || views.shape(2) != 4)
        throw py::value_error("views must be (n, 4, 4)");
    const auto [rows, columns] = shape;
    if (rows < 1 || columns < 1 || rows > INT32_MAX || columns > INT32_MAX) throw py::value_error("bad detector shape");
    if (threads < 1) throw py::value_error("threads must be positive");
    const py::ssize_t count = views.shape(0);
    const auto structures = static_cast<py::ssize_t>(prepared.min_path_mm.size());
    const bool image = prepared.volume_grid.has_value(), label = prepared.label_grid.has_value();
    const std::vector<py::ssize_t> images{count, rows, columns}, labels{structures, count, rows, columns};
    drrproj::Outputs memory{};
    for (const auto& [name, array] : outputs) {
        const auto output = name.cast<std::string>();
        if (output == "line_integral" && image)
            memory.line_integral = memory_of<float>(array, output, images);
        else if (output == "path_length" && label)
            memory.path_length = memory_of<float>(array, output, labels);
        else if (output == "mask" && label)
            memory.mask = memory_of<std::uint8_t>(array, output, {structures, count, rows, (columns + 7) / 8});
        else if (output == "label_line_integral" && image && label)
            memory.label_line_integral = memory_of<float>(array, output, labels);
        else if (output == "background_line_integral" && image && label)
            memory.background_line_integral = memory_of<float>(array, output, images);
        else if (output == "entry_depth" && label)
            memory.entry_depth = memory_of<float>(array, output, labels);
        else if (output == "exit_depth" && label)
            memory.exit_depth = memory_of<float>(array, output, labels);
        else if (output == "box" && label)
            memory.box = memory_of<std::int32_t>(array, output, {structures, count, 4});
        else
            throw py::value_error("output '" + output + "' cannot be made from what was prepared");
    }
    const drrproj::Scene scene{
        prepared.volume_grid ? &*prepared.volume_grid : nullptr,
        prepared.label_grid ? &*prepared.label_grid : nullptr,
        {prepared.knots.data(), prepared.slope_changes.data(), static_cast<std::int32_t>(prepared.knots.size())},
        {prepared.values.data(), static_cast<std::int64_t>(prepared.values.size()), prepared.first_value.data(),
         prepared.value_indices.data(), prepared.min_path_mm.data(), structures}};
    {
        const py::gil_scoped_release released;
        const auto interrupted = [] {
            const py::gil_scoped_acquire acquired;
            return PyErr_CheckSignals() != 0;
        };
        drrproj::project(scene, {views.data(), count, rows, columns}, memory, threads, interrupted, prepared.shared);
    }
    if (PyErr_Occurred()) throw py::error_already_set();
}

}  // namespace

PYBIND11_MODULE(_cpu, module) {
    module.doc() = "The exact walk in C++, for every instruction set of this machine.";
    py::class_<Prepared>(module, "Prepared", "Arrays described for the walk; keeps them alive.");
    module.def("prepare", &prepare, py::kw_only(), py::arg("volume"), py::arg("volume_voxel_from_world"),
               py::arg("volume_world_from_voxel"), py::arg("knots"), py::arg("slope_changes"), py::arg("labels"),
               py::arg("labels_voxel_from_world"), py::arg("labels_world_from_voxel"), py::arg("values"),
               py::arg("first_value"), py::arg("value_indices"), py::arg("min_path_mm"));
    module.def("trace", &trace, py::arg("prepared"), py::arg("views"), py::arg("shape"), py::arg("outputs"),
               py::arg("threads"));
    module.def("why_unavailable", [] { return std::optional<std::string>(); });
    module.def("instruction_sets", &drrproj::instruction_sets);
    module.def("instruction_set", &drrproj::instruction_set);
    module.def("use_instruction_set", &drrproj::use_instruction_set, py::arg("name"));
}
