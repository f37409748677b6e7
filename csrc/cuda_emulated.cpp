// The CUDA backend compiled for the host, so that its tests run where no GPU is; and what they ask of the emulator.
#define DRRPROJ_EMULATED_CUDA
#include "cuda.cu"

#define DRRPROJ_FOR_TESTS extern "C" __attribute__((visibility("default")))

// Wait for every stream.
DRRPROJ_FOR_TESTS void drrproj_emulated_synchronize() { drrproj::emulated::streams().finish_all(); }

// Bytes that were copied between host and "device" so far.
DRRPROJ_FOR_TESTS std::int64_t drrproj_emulated_copied_bytes() { return drrproj::emulated::copied_bytes(); }

// Kernels that were launched so far.
DRRPROJ_FOR_TESTS std::int64_t drrproj_emulated_launches() { return drrproj::emulated::launches(); }
