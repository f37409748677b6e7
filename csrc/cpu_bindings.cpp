// Python face of the CPU engine.
#include "bindings.h"
#include "cpu.h"
#include "instruction_sets.h"

namespace py = pybind11;
using drrproj::Description;
using drrproj::Matrix;

namespace {

// Arrays described for the walk: project many times.
struct Prepared {
    Description described;
    drrproj::Shared shared;
};

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
    using drrproj::LabelCache;
    py::class_<LabelCache, std::shared_ptr<LabelCache>>(
        module, "LabelCache", "What projections of one label array keep for those that follow.")
        .def(py::init<>());
    // Of this module alone: Clang gives the type of that name in _cuda the same identity.
    py::class_<Prepared>(module, "Prepared", py::module_local(), "Arrays described for the walk; keeps them alive.");
    drrproj::define_prepare<std::shared_ptr<LabelCache>>(
        module, &drrproj::numpy_memory,
        [](Description described, std::shared_ptr<LabelCache> labels) {
            return Prepared{std::move(described), drrproj::Shared(std::move(labels))};
        },
        py::arg("label_cache") = py::none());
    module.def("trace", &trace, py::arg("prepared"), py::arg("views"), py::arg("shape"), py::arg("outputs"),
               py::arg("threads"));
    module.def("why_unavailable", [] { return std::optional<std::string>(); });
    module.def("instruction_sets", &drrproj::instruction_sets);
    module.def("instruction_set", [] { return drrproj::chosen_set().name; });
    module.def("use_instruction_set", &drrproj::use_instruction_set, py::arg("name"));
}
