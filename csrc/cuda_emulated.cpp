// The CUDA backend compiled for the host, so that its tests run where no GPU is.
#define DRRPROJ_EMULATED_CUDA
#include "cuda.cu"
