// Streams, events and graphs. What is captured is counted in its graph, and again whenever the graph is launched; it is
// not done. What CUDA refuses while a stream is captured is refused here, and spoils the capture.
#include "device.hpp"

#include <pthread.h>

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>

namespace {

using Work = std::map<std::string, long>;  // how many of what

// The capture under way, if it has streams. PyTorch makes one graph at a time.
struct Capture {
    std::set<cudaStream_t> streams;  // the first one, and those that waited for events of others
    cudaStreamCaptureMode mode;
    pthread_t thread;
    Work work;
    bool spoiled;
    long number = 0;
};

struct State {
    std::mutex mutex;
    Capture capture;
    std::map<cudaEvent_t, long> recorded;  // event -> number of the capture that it was recorded in; 0 for none
    std::map<void*, Work> graphs;          // of graphs, and of executable ones
};

State& state() {
    static State* one = new State;  // never destroyed: torch's threads end after static objects
    return *one;
}

using Lock = std::lock_guard<std::mutex>;

thread_local cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;

// The capture that an event belongs to, if it is under way. The caller holds the lock.
bool captured(cudaEvent_t event) {
    auto found = state().recorded.find(event);
    return !state().capture.streams.empty() && found != state().recorded.end() &&
           found->second == state().capture.number;
}

cudaError_t spoil(cudaError_t why) {
    state().capture.spoiled = true;
    return why;
}

// Counts a wait. What is captured does not run, so that nothing can wait for it.
cudaError_t waits(const char* how, bool for_captured) {
    count("waits");
    count(how);
    return for_captured ? refused(cudaErrorStreamCaptureUnsupported) : unsafe();
}

bool is_captured(cudaEvent_t event) {
    Lock lock(state().mutex);
    return captured(event);
}

template <class Handle>
cudaError_t make(Handle* made) {
    *made = static_cast<Handle>(handle());
    return cudaSuccess;
}

}  // namespace

bool is_capturing(cudaStream_t stream) {
    Lock lock(state().mutex);
    return state().capture.streams.count(stream);
}

bool done_now(cudaStream_t stream, const char* what) {
    Lock lock(state().mutex);
    Capture& capture = state().capture;
    if (capture.streams.count(stream)) {
        capture.work[what]++;
        return false;
    }
    count(what);
    if (!capture.streams.empty()) count("work outside the capture");  // which no replay repeats
    return true;
}

cudaError_t refused(cudaError_t why) {
    Lock lock(state().mutex);
    return spoil(why);
}

cudaError_t unsafe() {
    Lock lock(state().mutex);
    const Capture& capture = state().capture;
    if (capture.streams.empty() || mode == cudaStreamCaptureModeRelaxed || capture.mode == cudaStreamCaptureModeRelaxed)
        return cudaSuccess;
    bool everywhere = mode == cudaStreamCaptureModeGlobal && capture.mode == cudaStreamCaptureModeGlobal;
    if (!everywhere && !pthread_equal(pthread_self(), capture.thread)) return cudaSuccess;
    return spoil(cudaErrorStreamCaptureUnsupported);
}

cudaError_t waits_for_a_copy() { return waits("waits for a copy", false); }

extern "C" {

// Streams and events.
cudaError_t cudaStreamCreate(cudaStream_t* stream) { return make(stream); }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) { return make(stream); }
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) { return make(stream); }
cudaError_t cudaStreamGetPriority(cudaStream_t, int* priority) {
    *priority = 0;
    return cudaSuccess;
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
    return is_capturing(stream) ? refused(cudaErrorStreamCaptureUnsupported) : unsafe();
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) { return waits("waits for a stream", is_capturing(stream)); }
cudaError_t cudaDeviceSynchronize() {
    bool under_way;
    {
        Lock lock(state().mutex);
        under_way = !state().capture.streams.empty();
    }
    return waits("waits for the device", under_way);
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return make(event); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return make(event); }
cudaError_t cudaEventSynchronize(cudaEvent_t event) { return waits("waits for an event", is_captured(event)); }
cudaError_t cudaEventQuery(cudaEvent_t event) {
    return is_captured(event) ? refused(cudaErrorCapturedEvent) : unsafe();
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
    *milliseconds = 0;
    return cudaSuccess;
}
cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned) {
    Lock lock(state().mutex);
    const Capture& capture = state().capture;
    state().recorded[event] = capture.streams.count(stream) ? capture.number : 0;
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    return cudaEventRecordWithFlags(event, stream, 0);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    Lock lock(state().mutex);
    std::set<cudaStream_t>& streams = state().capture.streams;
    if (captured(event)) streams.insert(stream);
    else if (streams.count(stream) && state().recorded.count(event)) return spoil(cudaErrorStreamCaptureIsolation);
    return cudaSuccess;
}

// Captures and graphs.
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode wanted) {
    Lock lock(state().mutex);
    Capture& capture = state().capture;
    if (!stream) return cudaErrorStreamCaptureUnsupported;  // the legacy stream
    if (!capture.streams.empty()) return cudaErrorIllegalState;
    capture = {{stream}, wanted, pthread_self(), {}, false, capture.number + 1};
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
    auto made = static_cast<cudaGraph_t>(handle());
    Lock lock(state().mutex);
    Capture& capture = state().capture;
    *graph = nullptr;
    if (!capture.streams.count(stream)) return cudaErrorIllegalState;
    capture.streams.clear();
    if (capture.spoiled) return cudaErrorStreamCaptureInvalidated;
    state().graphs[*graph = made] = std::move(capture.work);
    return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
    Lock lock(state().mutex);
    const Capture& capture = state().capture;
    *status = !capture.streams.count(stream) ? cudaStreamCaptureStatusNone
              : capture.spoiled              ? cudaStreamCaptureStatusInvalidated
                                             : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus* status, unsigned long long* id,
                                     cudaGraph_t* graph, const cudaGraphNode_t** nodes,
                                     const cudaGraphEdgeData** edges, size_t* many) {
    cudaStreamIsCapturing(stream, status);
    if (id) *id = state().capture.number;
    if (graph) *graph = nullptr;
    if (nodes) *nodes = nullptr;
    if (edges) *edges = nullptr;
    if (many) *many = 0;
    return cudaSuccess;
}
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* wanted) {
    std::swap(mode, *wanted);
    return cudaSuccess;
}
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* many) {
    Lock lock(state().mutex);
    *many = 0;
    for (auto& [what, number] : state().graphs[graph]) *many += number;
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* ready, cudaGraph_t graph, unsigned long long) {
    make(ready);
    Lock lock(state().mutex);
    state().graphs[*ready] = state().graphs[graph];
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* ready, cudaGraph_t graph, unsigned long long) {
    return cudaGraphInstantiate(ready, graph, 0);
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t ready, cudaStream_t stream) {
    done_now(stream, "graphs");
    Lock lock(state().mutex);
    for (auto& [what, number] : state().graphs[ready]) count((what + " inside graphs").c_str(), number);
    return cudaSuccess;
}
}
