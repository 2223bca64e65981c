// What the sources of the pretended device share: its size, its counters, its handles, the state of captures.
#pragma once
#include <cuda_runtime_api.h>

constexpr size_t TOTAL_BYTES = 80ull << 30;
constexpr int VERSION = CUDART_VERSION;
constexpr const char* NAME = "Pretended H100";

int devices();                              // PRETENDED_GPUS, as CUDA_VISIBLE_DEVICES leaves them
void* handle();                             // a new one, never dereferenced
void count(const char* what, long by = 1);  // of the report
void launched(cudaStream_t stream, const char* library_or_null, const void* kernel = nullptr);
void name_kernel(const void* kernel, const char* name);

// captures.cpp
bool is_capturing(cudaStream_t stream);
bool done_now(cudaStream_t stream, const char* what);  // counts it; false if it is captured
cudaError_t refused(cudaError_t why);                  // spoils the capture
cudaError_t unsafe();                                  // refused to the thread that captures, and to all if it said so
cudaError_t waits_for_a_copy();
