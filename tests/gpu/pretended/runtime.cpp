// The CUDA runtime without a device: memory is the host's, copies copy, kernels do nothing, and everything is counted.
#include "device.hpp"

#include <dlfcn.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

namespace {

struct Block {
    size_t bytes;
    cudaMemoryType type;
    int device;
};

struct State {
    std::mutex mutex;
    std::map<std::string, long> counts;
    std::map<std::string, long> kernels;
    std::map<const void*, std::string> names;
    std::map<const char*, Block> blocks;
    std::map<int, size_t> used;                    // bytes, by device
    long next = 0x1000;
};

State& state() {
    static State* one = new State;  // never destroyed: torch's threads end after static objects
    return *one;
}

using Lock = std::lock_guard<std::mutex>;

thread_local int current = 0;
thread_local struct {
    dim3 grid, block;
    size_t shared;
    void* stream;
} configuration;

size_t bytes_of(const char* variable, size_t otherwise) {
    const char* text = getenv(variable);
    return text ? strtoull(text, nullptr, 10) : otherwise;
}

cudaError_t allocate(void** pointer, size_t bytes, cudaMemoryType type) {
    size_t size = std::max<size_t>(512, (bytes + 511) / 512 * 512);
    Lock lock(state().mutex);
    if (type == cudaMemoryTypeDevice && state().used[current] + size > bytes_of("PRETENDED_BYTES", TOTAL_BYTES))
        return cudaErrorMemoryAllocation;
    void* found = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (found == MAP_FAILED) return cudaErrorMemoryAllocation;
    state().blocks[static_cast<char*>(found)] = {size, type, current};
    if (type == cudaMemoryTypeDevice) state().used[current] += size;
    *pointer = found;
    return cudaSuccess;
}

cudaError_t release(void* pointer) {
    Lock lock(state().mutex);
    auto found = state().blocks.find(static_cast<char*>(pointer));
    if (found == state().blocks.end()) return pointer ? cudaErrorInvalidValue : cudaSuccess;
    if (found->second.type == cudaMemoryTypeDevice) state().used[found->second.device] -= found->second.bytes;
    munmap(pointer, found->second.bytes);
    state().blocks.erase(found);
    return cudaSuccess;
}

// The block that an address lies in, or null. The caller holds the lock.
const Block* block_of(const void* address) {
    auto after = state().blocks.upper_bound(static_cast<const char*>(address));
    if (after == state().blocks.begin()) return nullptr;
    auto& [start, block] = *std::prev(after);
    return static_cast<const char*>(address) < start + block.bytes ? &block : nullptr;
}

cudaError_t copied(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    bool pageable;  // host memory of ours is pinned, all else is not: such a copy goes through a buffer of the driver
    {
        Lock lock(state().mutex);
        auto side = [](const void* p) { auto b = block_of(p); return b && b->type == cudaMemoryTypeDevice; };
        if (kind == cudaMemcpyDefault) kind = static_cast<cudaMemcpyKind>((side(from) ? 2 : 0) + (side(to) ? 1 : 0));
        pageable = (kind == cudaMemcpyHostToDevice && !block_of(from)) ||
                   (kind == cudaMemcpyDeviceToHost && !block_of(to));
    }
    if (pageable && is_capturing(stream)) return refused(cudaErrorStreamCaptureUnsupported);
    static const char* names[] = {"copies host to host", "copies to the device", "copies to the host",
                                  "copies on the device"};
    if (pageable) count("pageable copies");
    if (!done_now(stream, names[kind])) return cudaSuccess;
    // What kernels leave is garbage anyway: only what the host sees is worth the time.
    if (kind != cudaMemcpyDeviceToDevice || bytes <= 4096) memmove(to, from, bytes);
    return cudaSuccess;
}

}  // namespace

int devices() {
    const char* asked = getenv("PRETENDED_GPUS");
    int there = asked ? atoi(asked) : 1;
    const char* visible = getenv("CUDA_VISIBLE_DEVICES");
    if (!visible) return there;
    int seen = 0;  // up to the first one that does not exist, as CUDA reads it
    for (const char* at = visible; *at;) {
        char* end;
        long number = strtol(at, &end, 10);
        if (end == at || number < 0 || number >= there) break;
        seen++;
        at = *end == ',' ? end + 1 : end;
        if (at == end && *end) break;
    }
    return seen;
}

void* handle() {
    Lock lock(state().mutex);
    return reinterpret_cast<void*>(state().next += 64);
}

void count(const char* what, long by) {
    Lock lock(state().mutex);
    state().counts[what] += by;
}

void launched(cudaStream_t stream, const char* library, const void* kernel) {
    if (!done_now(stream, library ? library : "launches") || library) return;
    Lock lock(state().mutex);
    auto name = state().names.find(kernel);
    state().kernels[name == state().names.end() ? "?" : name->second]++;
}

void name_kernel(const void* kernel, const char* name) {
    Lock lock(state().mutex);
    state().names[kernel] = name;
}

extern "C" {

// The report: one count a line; then, after a line of its own, kernels by name.
void pretended_reset() {
    Lock lock(state().mutex);
    state().counts.clear();
    state().kernels.clear();
}

const char* pretended_report() {
    static std::string text;
    Lock lock(state().mutex);
    text.clear();
    for (auto& [what, many] : state().counts) text += what + "\t" + std::to_string(many) + "\n";
    text += "kernels\n";
    for (auto& [what, many] : state().kernels) text += what + "\t" + std::to_string(many) + "\n";
    return text.c_str();
}

// Devices: the attributes that torch's kernels choose their sizes by are those of an H100.
cudaError_t cudaGetDeviceCount(int* found) {
    *found = devices();
    return *found ? cudaSuccess : cudaErrorNoDevice;
}
cudaError_t cudaGetDevice(int* device) {
    *device = current;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
    if (device < 0 || device >= devices()) return cudaErrorInvalidDevice;
    current = device;
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
    *version = VERSION;
    return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
    *version = VERSION;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* is, int device) {
    memset(is, 0, sizeof *is);
    strcpy(is->name, NAME);
    is->uuid.bytes[15] = static_cast<char>(device + 1);
    is->totalGlobalMem = bytes_of("PRETENDED_BYTES", TOTAL_BYTES);
    is->major = 9;
    is->multiProcessorCount = 132;
    is->warpSize = 32;
    is->maxThreadsPerBlock = is->maxThreadsDim[0] = is->maxThreadsDim[1] = 1024;
    is->maxThreadsDim[2] = 64;
    is->maxGridSize[0] = 2147483647;
    is->maxGridSize[1] = is->maxGridSize[2] = 65535;
    is->maxThreadsPerMultiProcessor = 2048;
    is->maxBlocksPerMultiProcessor = 32;
    is->sharedMemPerBlock = 49152;
    is->sharedMemPerBlockOptin = 232448;
    is->sharedMemPerMultiprocessor = 233472;
    is->regsPerBlock = is->regsPerMultiprocessor = 65536;
    is->l2CacheSize = 50 << 20;
    is->concurrentKernels = is->unifiedAddressing = 1;
    is->pciBusID = device + 1;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
    cudaDeviceProp is;
    cudaGetDeviceProperties(&is, device);
    switch (attribute) {
        case cudaDevAttrMaxThreadsPerBlock: *value = is.maxThreadsPerBlock; break;
        case cudaDevAttrMaxBlockDimX: case cudaDevAttrMaxBlockDimY: *value = is.maxThreadsDim[0]; break;
        case cudaDevAttrMaxBlockDimZ: *value = is.maxThreadsDim[2]; break;
        case cudaDevAttrMaxGridDimX: *value = is.maxGridSize[0]; break;
        case cudaDevAttrMaxGridDimY: case cudaDevAttrMaxGridDimZ: *value = is.maxGridSize[1]; break;
        case cudaDevAttrMaxSharedMemoryPerBlock: *value = is.sharedMemPerBlock; break;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = is.sharedMemPerBlockOptin; break;
        case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = is.sharedMemPerMultiprocessor; break;
        case cudaDevAttrWarpSize: *value = is.warpSize; break;
        case cudaDevAttrMaxRegistersPerBlock: *value = is.regsPerBlock; break;
        case cudaDevAttrMaxRegistersPerMultiprocessor: *value = is.regsPerMultiprocessor; break;
        case cudaDevAttrMultiProcessorCount: *value = is.multiProcessorCount; break;
        case cudaDevAttrMaxThreadsPerMultiProcessor: *value = is.maxThreadsPerMultiProcessor; break;
        case cudaDevAttrMaxBlocksPerMultiprocessor: *value = is.maxBlocksPerMultiProcessor; break;
        case cudaDevAttrL2CacheSize: *value = is.l2CacheSize; break;
        case cudaDevAttrComputeCapabilityMajor: *value = is.major; break;
        case cudaDevAttrComputeCapabilityMinor: *value = is.minor; break;
        default: *value = 1;
    }
    return cudaSuccess;
}
cudaError_t cudaDeviceGetPCIBusId(char* text, int length, int device) {
    snprintf(text, length, "0000:%02x:00.0", device + 1);
    return cudaSuccess;
}
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}
cudaError_t cudaDeviceCanAccessPeer(int* can, int, int) {
    *can = 0;
    return cudaSuccess;
}

// Memory. PRETENDED_BYTES is what a device has, PRETENDED_FREE_BYTES what it says is free.
cudaError_t cudaMalloc(void** pointer, size_t bytes) {
    if (auto error = unsafe()) return error;
    return allocate(pointer, bytes, cudaMemoryTypeDevice);
}
cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) {
    if (auto error = unsafe()) return error;
    return allocate(pointer, bytes, cudaMemoryTypeHost);
}
cudaError_t cudaMallocHost(void** pointer, size_t bytes) { return cudaHostAlloc(pointer, bytes, 0); }
cudaError_t cudaFree(void* pointer) {
    if (auto error = unsafe()) return error;
    return release(pointer);
}
cudaError_t cudaFreeHost(void* pointer) { return cudaFree(pointer); }
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
    Lock lock(state().mutex);
    *total = bytes_of("PRETENDED_BYTES", TOTAL_BYTES);
    *free = bytes_of("PRETENDED_FREE_BYTES", *total - state().used[current]);
    return cudaSuccess;
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* is, const void* address) {
    memset(is, 0, sizeof *is);
    Lock lock(state().mutex);
    if (const Block* block = block_of(address)) {
        is->type = block->type;
        is->device = block->device;
        is->devicePointer = const_cast<void*>(address);
        is->hostPointer = block->type == cudaMemoryTypeHost ? const_cast<void*>(address) : nullptr;
    }
    return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
    if (auto error = waits_for_a_copy()) return error;
    return copied(to, from, bytes, kind, nullptr);
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    return copied(to, from, bytes, kind, stream);
}
cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t bytes, cudaStream_t stream) {
    return copied(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
}
cudaError_t cudaMemset(void* to, int value, size_t bytes) {
    count("memory sets");
    memset(to, value, bytes);
    return unsafe();
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
    if (done_now(stream, "memory sets") && bytes <= 4096) memset(to, value, bytes);
    return cudaSuccess;
}

// Kernels: registered by name when torch is loaded, counted by name when they are launched.
void** __cudaRegisterFatBinary(void*) { return static_cast<void**>(handle()); }
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}
void __cudaRegisterFunction(void**, const char* host, char*, const char* name, int, void*, void*, void*, void*, int*) {
    name_kernel(host, name);
}
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void* stream) {
    configuration = {grid, block, shared, stream};
    return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
    *grid = configuration.grid;
    *block = configuration.block;
    *shared = configuration.shared;
    *static_cast<void**>(stream) = configuration.stream;
    return cudaSuccess;
}
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
    *kernel = static_cast<cudaKernel_t>(const_cast<void*>(function));
    return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3, dim3, void**, size_t, cudaStream_t stream) {
    launched(stream, nullptr, kernel);
    return cudaSuccess;
}
cudaError_t cudaLaunchKernel(const void* function, dim3, dim3, void**, size_t, cudaStream_t stream) {
    launched(stream, nullptr, function);
    return cudaSuccess;
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* is, const void* function, void**) {
    launched(is->stream, nullptr, function);
    return cudaSuccess;
}
cudaError_t cudaLaunchCooperativeKernel(const void* function, dim3, dim3, void**, size_t, cudaStream_t stream) {
    launched(stream, nullptr, function);
    return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* is, const void*) {
    memset(is, 0, sizeof *is);
    is->maxThreadsPerBlock = 1024;
    is->numRegs = 32;
    is->ptxVersion = is->binaryVersion = 90;
    return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void*, int, size_t) {
    *blocks = 8;
    return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void*, int, size_t, unsigned) {
    *blocks = 8;
    return cudaSuccess;
}
cudaError_t cudaGetSymbolAddress(void** address, const void* symbol) {
    *address = const_cast<void*>(symbol);
    return cudaSuccess;
}

// Errors.
const char* cudaGetErrorString(cudaError_t error) {
    switch (error) {
        case cudaErrorMemoryAllocation: return "out of memory";
        case cudaErrorInvalidDevice: return "invalid device ordinal";
        case cudaErrorNoDevice: return "no CUDA-capable device is detected";
        case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
        case cudaErrorStreamCaptureInvalidated: return "operation failed due to a previous error during capture";
        default: return "error of the pretended device";
    }
}
const char* cudaGetErrorName(cudaError_t error) { return cudaGetErrorString(error); }
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaPeekAtLastError() { return cudaSuccess; }

// The driver's functions by name: ours, or one that does nothing.
static int nothing() { return 0; }
cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult* result) {
    void* found = dlsym(RTLD_DEFAULT, name);
    *function = found ? found : reinterpret_cast<void*>(nothing);
    if (result) *result = cudaDriverEntryPointSuccess;
    return cudaSuccess;
}
}
