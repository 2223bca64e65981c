// cuBLAS and cuDNN: the questions that torch asks before a call are answered, the calls themselves are counted.
#include "device.hpp"

#include <cstring>
#include <map>
#include <mutex>

namespace {
constexpr const char* PRODUCTS = "matrix products";
constexpr const char* CONVOLUTIONS = "convolutions";
constexpr const char* OTHERS = "other library calls";

int made(void** one) {
    *one = handle();
    return 0;
}

// cudnnConvolutionFwdAlgoPerf_t and its two siblings, whose layouts agree.
struct Performance {
    int algorithm, status;
    float time;
    size_t memory;
    int determinism, math, reserved[3];
};

int first_algorithm(int* many, Performance* found) {
    memset(found, 0, sizeof *found);
    found->algorithm = found->determinism = 1;
    *many = 1;
    return 0;
}

// The stream that a library's handle was given; torch sets it before every call.
struct Streams {
    std::mutex mutex;
    std::map<void*, cudaStream_t> of;
};

Streams& streams() {
    static Streams* one = new Streams;
    return *one;
}

int set_stream(void* library, cudaStream_t stream) {
    std::lock_guard<std::mutex> lock(streams().mutex);
    streams().of[library] = stream;
    return 0;
}

int called(void* library, const char* kind) {
    std::unique_lock<std::mutex> lock(streams().mutex);
    cudaStream_t stream = streams().of[library];
    lock.unlock();
    launched(stream, kind);
    return 0;
}

int no_bytes(size_t* bytes) {
    *bytes = 0;
    return 0;
}
}  // namespace

#define COUNTED(function, kind) \
    int function(void* library) { return called(library, kind); }
#define MADE(function) \
    int function(void** one) { return made(one); }

extern "C" {
MADE(cublasCreate_v2)
int cublasSetStream_v2(void* library, cudaStream_t stream) { return set_stream(library, stream); }
int cublasGetMathMode(void*, int* math) {
    *math = 0;
    return 0;
}
int cublasGetPointerMode_v2(void*, int* where) {
    *where = 0;
    return 0;
}
size_t cublasLtGetVersion() { return 130000; }
int cublasLtMatmulDescCreate(void** one, int, int) { return made(one); }
int cublasLtMatrixLayoutCreate(void** one, int, unsigned long, unsigned long, long) { return made(one); }
MADE(cublasLtMatmulPreferenceCreate)
int cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void*, int, void* results, int* many) {
    memset(results, 0, 96);  // one cublasLtMatmulHeuristicResult_t: its status is success, its workspace empty
    *many = 1;
    return 0;
}
int cublasLtMatmul(void*, void*, const void*, const void*, void*, const void*, void*, const void*, const void*, void*,
                   void*, void*, const void*, void*, size_t, cudaStream_t stream) {
    launched(stream, PRODUCTS);
    return 0;
}
COUNTED(cublasGemmEx, PRODUCTS)
COUNTED(cublasGemmStridedBatchedEx, PRODUCTS)
COUNTED(cublasSgemmEx, PRODUCTS)
COUNTED(cublasSgemm_v2, PRODUCTS)
COUNTED(cublasSgemmStridedBatched, PRODUCTS)
COUNTED(cublasSgemv_v2, PRODUCTS)

size_t cudnnGetVersion() { return PRETENDED_CUDNN; }
size_t cudnnGetCudartVersion() { return VERSION; }
const char* cudnnGetErrorString(int) { return "error of the pretended cuDNN"; }
int cudnnGetProperty(int which, int* value) {  // MAJOR_VERSION, MINOR_VERSION, PATCH_LEVEL
    const int parts[] = {PRETENDED_CUDNN / 10000, PRETENDED_CUDNN / 100 % 100, PRETENDED_CUDNN % 100};
    *value = parts[which];
    return 0;
}
MADE(cudnnCreate)
int cudnnSetStream(void* library, cudaStream_t stream) { return set_stream(library, stream); }
MADE(cudnnCreateActivationDescriptor)
MADE(cudnnCreateConvolutionDescriptor)
MADE(cudnnCreateDropoutDescriptor)
MADE(cudnnCreateFilterDescriptor)
MADE(cudnnCreatePoolingDescriptor)
MADE(cudnnCreateSpatialTransformerDescriptor)
MADE(cudnnCreateTensorDescriptor)
int cudnnGetConvolutionForwardAlgorithm_v7(void*, void*, void*, void*, void*, int, int* many, Performance* found) {
    return first_algorithm(many, found);
}
int cudnnGetConvolutionBackwardDataAlgorithm_v7(void*, void*, void*, void*, void*, int, int* many, Performance* found) {
    return first_algorithm(many, found);
}
int cudnnGetConvolutionBackwardFilterAlgorithm_v7(void*, void*, void*, void*, void*, int, int* many,
                                                  Performance* found) {
    return first_algorithm(many, found);
}
int cudnnGetConvolutionForwardWorkspaceSize(void*, void*, void*, void*, void*, int, size_t* bytes) {
    return no_bytes(bytes);
}
int cudnnGetConvolutionBackwardDataWorkspaceSize(void*, void*, void*, void*, void*, int, size_t* bytes) {
    return no_bytes(bytes);
}
int cudnnGetConvolutionBackwardFilterWorkspaceSize(void*, void*, void*, void*, void*, int, size_t* bytes) {
    return no_bytes(bytes);
}
int cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize(void*, int, int, void*, void*, void*, void*, void*,
                                                             size_t* bytes) {
    return no_bytes(bytes);
}
int cudnnGetBatchNormalizationBackwardExWorkspaceSize(void*, int, int, void*, void*, void*, void*, void*, void*, void*,
                                                      size_t* bytes) {
    return no_bytes(bytes);
}
int cudnnGetBatchNormalizationTrainingExReserveSpaceSize(void*, int, int, void*, void*, size_t* bytes) {
    return no_bytes(bytes);
}
COUNTED(cudnnConvolutionForward, CONVOLUTIONS)
COUNTED(cudnnConvolutionBackwardData, CONVOLUTIONS)
COUNTED(cudnnConvolutionBackwardFilter, CONVOLUTIONS)
COUNTED(cudnnBatchNormalizationForwardTrainingEx, OTHERS)
COUNTED(cudnnBatchNormalizationForwardInference, OTHERS)
COUNTED(cudnnBatchNormalizationBackwardEx, OTHERS)
COUNTED(cudnnPoolingForward, OTHERS)
COUNTED(cudnnSpatialTfGridGeneratorForward, OTHERS)
COUNTED(cudnnSpatialTfSamplerForward, OTHERS)
COUNTED(cudnnSpatialTfSamplerBackward, OTHERS)

// cuDNN's graphs of operations (torch's convolutions): each has one engine, without settings, notes or workspace.
int cudnnBackendCreateDescriptor(int, void** one) { return made(one); }
int cudnnBackendDestroyDescriptor(void*) { return 0; }
int cudnnBackendSetAttribute(void*, int, int, long, const void*) { return 0; }
int cudnnBackendFinalize(void*) { return 0; }
int cudnnBackendGetAttribute(void*, int attribute, int type, long, long* many, void* values) {
    constexpr int DESCRIPTOR = 15, INT64 = 3, DOUBLE = 5, INT32 = 23;                    // cudnnBackendAttributeType_t
    constexpr int ENGINES = 802, KNOBS = 1302, NUMERICAL_NOTES = 1303, BEHAVIORS = 1305;  // ..AttributeName_t
    bool none = attribute == KNOBS || attribute == NUMERICAL_NOTES || attribute == BEHAVIORS;
    if (many) *many = none ? 0 : 1;
    if (none || !values || type == DESCRIPTOR) return 0;
    if (type == INT64 || type == DOUBLE) *static_cast<long*>(values) = attribute == ENGINES;
    else if (type == INT32 || type < DESCRIPTOR) *static_cast<int*>(values) = 0;
    return 0;
}
COUNTED(cudnnBackendExecute, CONVOLUTIONS)
}
