// What the Python faces of the engines share: arrays and structures as they come from Python, checked for what protects
// memory; everything else was checked in Python.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "projection.h"

namespace drrproj {

namespace py = pybind11;
using Matrix = py::array_t<double, py::array::c_style | py::array::forcecast>;

// An array's memory; strides in bytes.
struct Memory {
    void* data;
    py::dtype type;
    std::vector<py::ssize_t> shape, strides;
    bool writable;
};

// How an engine finds the memory of an array that it is given.
using FindMemory = Memory (*)(const py::handle&);

inline Memory numpy_memory(const py::handle& given) {
    if (!py::isinstance<py::array>(given))
        throw py::type_error("this backend takes numpy arrays, not " +
                             py::str(py::type::of(given)).cast<std::string>());
    const auto array = py::reinterpret_borrow<py::array>(given);
    return {const_cast<void*>(array.data()), array.dtype(),
            std::vector<py::ssize_t>(array.shape(), array.shape() + array.ndim()),
            std::vector<py::ssize_t>(array.strides(), array.strides() + array.ndim()), array.writeable()};
}

// Of numpy arrays, and of those on a GPU that say so themselves.
inline Memory numpy_or_cuda_memory(const py::handle& given) {
    if (!py::hasattr(given, "__cuda_array_interface__")) return numpy_memory(given);
    const py::dict interface = given.attr("__cuda_array_interface__");
    const py::tuple data = interface["data"];
    Memory memory{reinterpret_cast<void*>(data[0].cast<std::uintptr_t>()),
                  py::dtype(interface["typestr"].cast<std::string>()),
                  interface["shape"].cast<std::vector<py::ssize_t>>(),
                  {},
                  !data[1].cast<bool>()};
    // A boolean is a byte of 0 or 1.
    if (memory.type.kind() == 'b') memory.type = py::dtype::of<std::uint8_t>();
    if (interface.contains("strides") && !interface["strides"].is_none()) {
        memory.strides = interface["strides"].cast<std::vector<py::ssize_t>>();
    } else {
        memory.strides.resize(memory.shape.size());
        py::ssize_t stride = memory.type.itemsize();
        for (std::size_t i = memory.shape.size(); i-- > 0; stride *= memory.shape[i]) memory.strides[i] = stride;
    }
    return memory;
}

inline NumberType number_type(const py::dtype& type) {
    // numpy marks some native arrays '<' or '>' and others '=': only isnative tells.
    if (!type.attr("isnative").cast<bool>()) throw py::type_error("voxels must have native byte order");
    struct Known {
        char kind;
        py::ssize_t size;
        NumberType type;
    };
    constexpr Known known[] = {{'i', 1, NumberType::int8},    {'u', 1, NumberType::uint8},
                               {'i', 2, NumberType::int16},   {'u', 2, NumberType::uint16},
                               {'i', 4, NumberType::int32},   {'u', 4, NumberType::uint32},
                               {'i', 8, NumberType::int64},   {'u', 8, NumberType::uint64},
                               {'f', 4, NumberType::float32}, {'f', 8, NumberType::float64}};
    for (const Known& one : known)
        if (type.kind() == one.kind && type.itemsize() == one.size) return one.type;
    throw py::type_error("voxels of type " + py::str(static_cast<py::object>(type)).cast<std::string>() +
                         " cannot be walked");
}

inline Grid grid_of(const Memory& voxels, const Matrix& voxel_from_world, const Matrix& world_from_voxel) {
    if (voxels.shape.size() != 3) throw py::value_error("voxels must be 3-D");
    if (voxel_from_world.size() != 16 || world_from_voxel.size() != 16)
        throw py::value_error("grid matrices must be 4x4");
    Grid grid{};
    grid.voxels = voxels.data;
    grid.type = number_type(voxels.type);
    for (std::size_t axis = 0; axis < 3; ++axis) {
        grid.size[axis] = voxels.shape[axis];
        grid.stride[axis] = voxels.strides[axis];
    }
    std::copy_n(voxel_from_world.data(), 16, grid.voxel_from_world);
    std::copy_n(world_from_voxel.data(), 16, grid.world_from_voxel);
    return grid;
}

// The arguments of prepare(), which every engine takes alike; keeps the arrays alive.
struct Description {
    py::object volume, labels;
    std::optional<Grid> volume_grid, label_grid;
    std::vector<float> knots, heights, slopes;
    std::vector<std::int64_t> values, first_value, value_indices;
    std::vector<float> min_path_mm;

    Scene scene() const {
        return {volume_grid ? &*volume_grid : nullptr,
                label_grid ? &*label_grid : nullptr,
                {knots.data(), heights.data(), slopes.data(), static_cast<std::int32_t>(knots.size())},
                {values.data(), static_cast<std::int64_t>(values.size()), first_value.data(), value_indices.data(),
                 min_path_mm.data(), static_cast<std::int64_t>(min_path_mm.size())}};
    }
};

inline void check_structures(const std::vector<std::int64_t>& values, const std::vector<std::int64_t>& first_value,
                             const std::vector<std::int64_t>& value_indices, std::size_t structures) {
    // Codes have 16 bits.
    if (values.size() > UINT16_MAX)
        throw py::value_error("this backend tells up to 65535 label values apart; got " +
                              std::to_string(values.size()) +
                              ": pass labels.subset(...) of those that are wanted, or backend=\"numba\"");
    for (std::size_t i = 1; i < values.size(); ++i)
        if (values[i - 1] >= values[i]) throw py::value_error("label values must ascend");
    const auto indices = static_cast<std::int64_t>(value_indices.size());
    if (first_value.size() != structures + 1 || first_value.front() != 0 || first_value.back() != indices)
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
}

// Give a module its prepare(): what `make` makes of the arguments, and of More that this engine alone takes, which
// `more` names.
template <class... More, class Make, class... Names>
void define_prepare(py::module_& module, FindMemory memory_of, const Make& make, const Names&... more) {
    const auto prepare = [memory_of, make](
                             const py::object& volume, const std::optional<Matrix>& volume_voxel_from_world,
                             const std::optional<Matrix>& volume_world_from_voxel, std::vector<float> knots,
                             std::vector<float> heights, std::vector<float> slopes, const py::object& labels,
                             const std::optional<Matrix>& labels_voxel_from_world,
                             const std::optional<Matrix>& labels_world_from_voxel, std::vector<std::int64_t> values,
                             std::vector<std::int64_t> first_value, std::vector<std::int64_t> value_indices,
                             std::vector<float> min_path_mm, const More&... others) {
        if (knots.size() != heights.size() || knots.size() != slopes.size())
            throw py::value_error("one height and one slope per knot");
        std::optional<Grid> volume_grid, label_grid;
        if (!volume.is_none()) {
            if (!volume_voxel_from_world || !volume_world_from_voxel)
                throw py::value_error("a volume needs its matrices");
            volume_grid = grid_of(memory_of(volume), *volume_voxel_from_world, *volume_world_from_voxel);
        }
        if (!labels.is_none()) {
            if (!labels_voxel_from_world || !labels_world_from_voxel)
                throw py::value_error("labels need their matrices");
            label_grid = grid_of(memory_of(labels), *labels_voxel_from_world, *labels_world_from_voxel);
            if (label_grid->type == NumberType::float32 || label_grid->type == NumberType::float64)
                throw py::type_error("labels must be integers");
            // More values than that would have codes wider than the voxels, which are read beyond their end.
            if (label_grid->type <= NumberType::uint8 && values.size() > UINT8_MAX)
                throw py::value_error("labels of 8 bits hold up to 255 values; got " + std::to_string(values.size()));
        }
        check_structures(values, first_value, value_indices, min_path_mm.size());
        return make(Description{volume, labels, volume_grid, label_grid, std::move(knots), std::move(heights),
                                std::move(slopes), std::move(values), std::move(first_value), std::move(value_indices),
                                std::move(min_path_mm)},
                    others...);
    };
    module.def("prepare", prepare, py::kw_only(), py::arg("volume"), py::arg("volume_voxel_from_world"),
               py::arg("volume_world_from_voxel"), py::arg("knots"), py::arg("heights"), py::arg("slopes"),
               py::arg("labels"), py::arg("labels_voxel_from_world"), py::arg("labels_world_from_voxel"),
               py::arg("values"), py::arg("first_value"), py::arg("value_indices"), py::arg("min_path_mm"), more...);
}

// The memory of an output, which must be there as it is: nothing is converted or copied.
template <class Number>
Number* output_memory(FindMemory memory_of, const py::handle& array, const std::string& output,
                      const std::vector<py::ssize_t>& shape) {
    const Memory memory = memory_of(array);
    bool fits = py::dtype::of<Number>().equal(memory.type) && memory.writable;
    auto stride = static_cast<py::ssize_t>(sizeof(Number));
    const bool empty = std::count(memory.shape.begin(), memory.shape.end(), 0) > 0;
    for (std::size_t i = memory.shape.size(); i-- > 0 && !empty;) {
        fits = fits && (memory.shape[i] == 1 || memory.strides[i] == stride);
        stride *= memory.shape[i];
    }
    if (!fits) throw py::type_error("output '" + output + "' must be a contiguous array of its type");
    if (memory.shape != shape) throw py::value_error("output '" + output + "' has another shape");
    return static_cast<Number*>(memory.data);
}

// The arguments of trace(), which every engine takes alike.
struct Request {
    Views views;
    Outputs outputs;
};

inline Request request(FindMemory memory_of, const Description& described, const Matrix& views,
                       const std::pair<std::int64_t, std::int64_t>& shape, const py::dict& outputs, int threads) {
    if (views.ndim() != 3 || views.shape(1) != 4 || views.shape(2) != 4)
        throw py::value_error("views must be (n, 4, 4)");
    const auto [rows, columns] = shape;
    if (rows < 1 || columns < 1 || rows > INT32_MAX || columns > INT32_MAX) throw py::value_error("bad detector shape");
    if (threads < 1) throw py::value_error("threads must be positive");
    const py::ssize_t count = views.shape(0);
    const auto structures = static_cast<py::ssize_t>(described.min_path_mm.size());
    const bool image = described.volume_grid.has_value(), label = described.label_grid.has_value();
    const std::vector<py::ssize_t> images{count, rows, columns}, labels{structures, count, rows, columns};
    Outputs memory{};
    for (const auto& [name, array] : outputs) {
        const auto output = name.cast<std::string>();
        const auto floats = [&, &given = array](const std::vector<py::ssize_t>& wanted) {
            return output_memory<float>(memory_of, given, output, wanted);
        };
        if (output == "line_integral" && image)
            memory.line_integral = floats(images);
        else if (output == "path_length" && label)
            memory.path_length = floats(labels);
        else if (output == "mask" && label)
            memory.mask =
                output_memory<std::uint8_t>(memory_of, array, output, {structures, count, rows, (columns + 7) / 8});
        else if (output == "label_line_integral" && image && label)
            memory.label_line_integral = floats(labels);
        else if (output == "background_line_integral" && image && label)
            memory.background_line_integral = floats(images);
        else if (output == "entry_depth" && label)
            memory.entry_depth = floats(labels);
        else if (output == "exit_depth" && label)
            memory.exit_depth = floats(labels);
        else if (output == "box" && label)
            memory.box = output_memory<std::int32_t>(memory_of, array, output, {structures, count, 4});
        else
            throw py::value_error("output '" + output + "' cannot be made from what was prepared");
    }
    return {{views.data(), count, rows, columns}, memory};
}

// Whether somebody wants the process to stop: for engines, which run without Python's lock.
inline bool interrupted() {
    const py::gil_scoped_acquire acquired;
    return PyErr_CheckSignals() != 0;
}

}  // namespace drrproj
