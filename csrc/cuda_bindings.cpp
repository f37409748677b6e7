// Python face of the CUDA engine, compiled by the C++ compiler: nvcc needs ten times as long for pybind11.
#include "bindings.h"
#include "cuda.h"

namespace py = pybind11;
using drrproj::Description;
using drrproj::Matrix;

namespace {

// With a stream the arrays are on a GPU.
drrproj::ArrayPlace place_of(const std::optional<std::uintptr_t>& stream) {
    return {stream.has_value(), stream.value_or(0)};
}

// Nothing but the stream says where arrays are: each must be there.
void check_places(const py::handle& array, const drrproj::ArrayPlace& place) {
    if (!array.is_none() && py::hasattr(array, "__cuda_array_interface__") != place.on_device)
        throw py::type_error("arrays must all be on the host, or with a stream all on a GPU");
}

// Arrays in the GPU's memory: project many times.
struct Prepared {
    Description described;
    drrproj::DeviceScene scene;
};

Prepared prepare(Description described, const std::optional<std::uintptr_t>& stream) {
    const drrproj::ArrayPlace place = place_of(stream);
    check_places(described.volume, place);
    check_places(described.labels, place);
    const drrproj::Scene scene = described.scene();
    const auto uploaded = [&] {
        const py::gil_scoped_release released;
        return drrproj::DeviceScene(scene, place);
    };
    drrproj::DeviceScene on_device = uploaded();
    if (on_device.pieces() <= 1) described.volume = described.labels = py::none();
    return {std::move(described), std::move(on_device)};
}

void trace(const Prepared& prepared, const Matrix& views, const std::pair<std::int64_t, std::int64_t>& shape,
           const py::dict& outputs, int threads, const std::optional<std::uintptr_t>& stream) {
    const drrproj::ArrayPlace place = place_of(stream);
    for (const auto& [name, array] : outputs) check_places(array, place);
    const drrproj::Request wanted =
        drrproj::request(&drrproj::numpy_or_cuda_memory, prepared.described, views, shape, outputs, threads);
    {
        const py::gil_scoped_release released;
        prepared.scene.project(wanted.views, wanted.outputs, place, &drrproj::interrupted);
    }
    if (PyErr_Occurred()) throw py::error_already_set();
}

}  // namespace

PYBIND11_MODULE(DRRPROJ_MODULE, module) {
    module.doc() = "The exact walk on an NVIDIA GPU.";
    // Of this module alone: Clang gives the type of that name in _cpu the same identity.
    py::class_<Prepared>(module, "Prepared", py::module_local(), "Arrays in the GPU's memory.")
        .def_property_readonly(
            "pieces", [](const Prepared& prepared) { return prepared.scene.pieces(); },
            "How many pieces the voxels are cut into, because the GPU's memory does not hold all of them at once.");
    drrproj::define_prepare<std::optional<std::uintptr_t>>(module, &drrproj::numpy_or_cuda_memory, &prepare,
                                                           py::arg("stream") = py::none());
    module.def("trace", &trace, py::arg("prepared"), py::arg("views"), py::arg("shape"), py::arg("outputs"),
               py::arg("threads"), py::arg("stream") = py::none());
    module.def("why_unavailable", &drrproj::why_no_gpu);
}
