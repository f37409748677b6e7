// Python face of the CPU engine.
#include "bindings.h"
#include "cpu.h"

namespace py = pybind11;
using drrproj::Description;
using drrproj::Matrix;

namespace {

// Arrays described for the walk: project many times.
struct Prepared {
    Description described;
    drrproj::Shared shared;
};

Prepared prepare(const py::object& volume, const std::optional<Matrix>& volume_voxel_from_world,
                 const std::optional<Matrix>& volume_world_from_voxel, std::vector<float> knots,
                 std::vector<float> slope_changes, const py::object& labels,
                 const std::optional<Matrix>& labels_voxel_from_world,
                 const std::optional<Matrix>& labels_world_from_voxel, std::vector<std::int64_t> values,
                 std::vector<std::int64_t> first_value, std::vector<std::int64_t> value_indices,
                 std::vector<float> min_path_mm) {
    return {drrproj::describe(&drrproj::numpy_memory, volume, volume_voxel_from_world, volume_world_from_voxel,
                              std::move(knots), std::move(slope_changes), labels, labels_voxel_from_world,
                              labels_world_from_voxel, std::move(values), std::move(first_value),
                              std::move(value_indices), std::move(min_path_mm)),
            {}};
}

void trace(const Prepared& prepared, const Matrix& views, const std::pair<std::int64_t, std::int64_t>& shape,
           const py::dict& outputs, int threads) {
    const drrproj::Request wanted =
        drrproj::request(&drrproj::numpy_memory, prepared.described, views, shape, outputs, threads);
    {
        const py::gil_scoped_release released;
        drrproj::project(prepared.described.scene(), wanted.views, wanted.outputs, threads, &drrproj::interrupted,
                         prepared.shared);
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
