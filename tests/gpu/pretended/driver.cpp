// The CUDA driver, as far as torch and Triton ask it. Its types are written out: the wheels of torch have no cuda.h to
// count on, and every status is an int.
#include "device.hpp"

#include <cstring>

// The start of a CUlaunchConfig.
struct Configuration {
    unsigned grid[3], block[3], shared;
    cudaStream_t stream;
};

extern "C" {
int cuInit(unsigned) { return 0; }
int cuDriverGetVersion(int* version) {
    *version = VERSION;
    return 0;
}
int cuDeviceGetCount(int* found) {
    *found = devices();
    return 0;
}
int cuDeviceGet(int* device, int number) {
    *device = number;
    return 0;
}
int cuDeviceGetName(char* text, int length, int) {
    strncpy(text, NAME, length);
    return 0;
}
int cuDeviceGetAttribute(int* value, int attribute, int device) {
    return cudaDeviceGetAttribute(value, static_cast<cudaDeviceAttr>(attribute), device);
}
int cuDevicePrimaryCtxGetState(int, unsigned* flags, int* active) {
    *flags = 0;
    *active = 1;
    return 0;
}
int cuDevicePrimaryCtxRetain(void** context, int device) {
    *context = reinterpret_cast<void*>(0x100L + device);
    return 0;
}
int cuCtxGetCurrent(void** context) {
    int device;
    cudaGetDevice(&device);
    return cuDevicePrimaryCtxRetain(context, device);
}
int cuCtxGetDevice(int* device) { return cudaGetDevice(device); }
int cuCtxGetLimit(size_t* value, int) {
    *value = 1 << 20;
    return 0;
}
int cuCtxSetLimit(int, size_t) { return 0; }
int cuGetErrorString(int, const char** text) {
    *text = "error of the pretended driver";
    return 0;
}
int cuStreamIsCapturing(void* stream, int* status) {
    *status = is_capturing(static_cast<cudaStream_t>(stream));
    return 0;
}
int cuPointerGetAttribute(void* value, int, unsigned long pointer) {
    *static_cast<unsigned long*>(value) = pointer;
    return 0;
}

// Kernels that were compiled here (Triton): as large as they say, never run.
int cuModuleLoadData(void** module, const void*) {
    *module = handle();
    return 0;
}
int cuModuleLoad(void** module, const char*) { return cuModuleLoadData(module, nullptr); }
int cuModuleLoadDataEx(void** module, const void*, unsigned, void*, void*) { return cuModuleLoadData(module, nullptr); }
int cuModuleGetFunction(void** function, void*, const char* name) {
    *function = handle();
    name_kernel(*function, name);
    return 0;
}
int cuFuncGetAttribute(int* value, int attribute, void*) {
    *value = attribute == 0 ? 1024 : 0;  // CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK; no registers, no shared memory
    return 0;
}
int cuLaunchKernel(void* function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                   cudaStream_t stream, void**, void**) {
    launched(stream, nullptr, function);
    return 0;
}
int cuLaunchKernelEx(const Configuration* is, void* function, void**, void**) {
    launched(is->stream, nullptr, function);
    return 0;
}
int cuOccupancyMaxActiveClusters(int* clusters, void*, void*) {
    *clusters = 1;
    return 0;
}
}
