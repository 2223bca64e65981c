"""Every component on a pretended GPU: nothing is on the wrong device, and no step waits for the device."""

import pytest

from bench.registry import BY_KIND
from tests.gpu.pretended import components, removals

ALLOCATOR = {"PYTORCH_NO_CUDA_MEMORY_CACHING": None}  # PyTorch's own
CASES = [f"{kind} {text}" for kind in components.KINDS for text in components.cases(kind)]


@pytest.fixture(scope="module")
def found(pretended):
    return pretended.report("tests.gpu.pretended.components")


@pytest.mark.parametrize("case", CASES)
def test_a_component_works_on_a_gpu(found, case):
    assert not found[case], found[case]


@pytest.mark.parametrize("kind", components.KINDS)
def test_every_registered_component_is_a_case(kind):
    named = {BY_KIND[kind].find(text.split()[0].partition(":")[0])[0].name for text in components.cases(kind)}
    assert named == set(BY_KIND[kind])


def test_a_tensor_that_is_left_behind_is_noticed(pretended):
    """Five places of the code without their `.to(device)`: the case that uses each raises torch's own error."""
    raised = pretended.report("tests.gpu.pretended.removals", "--json")
    assert len(raised) == len(removals.NOTICED) == 5
    for place, error in raised.items():
        assert "RuntimeError" in error, f"{place}: {error or 'nobody noticed'}"


def test_a_wait_in_a_step_is_noticed(pretended):
    script = """
import torch
from tests.gpu.pretended import components, watch
from bench.training import loop
watch.refuse_waits_in_steps()
plain = loop.functional.cross_entropy
def waits(*given, **named):
    value = plain(*given, **named)
    value.item()
    return value
loop.functional.cross_entropy = waits
components.run("victims", "linear")
"""
    done = pretended.run("-c", script)
    assert done.returncode == 1
    assert "called a synchronizing CUDA operation" in done.stderr


def test_several_gpus_and_their_memory(pretended):
    script = """
import torch
a, b = torch.ones(2, device="cuda:0"), torch.ones(2, device="cuda:3")
print(torch.cuda.device_count(), b.to("cuda:0").device, *(torch.cuda.mem_get_info(n)[0] for n in (1, 3)))
try:
    a + b
except RuntimeError as error:
    print(str(error)[:60])
try:
    torch.empty(10**7, device="cuda:2")
except torch.OutOfMemoryError:
    print("out of memory")
"""
    done = pretended.run("-c", script, gpus=4, env={"PRETENDED_BYTES": "20000000", **ALLOCATOR})
    counted, mixed, full = done.stdout.splitlines()
    assert counted == f"4 cuda:0 20000000 {20_000_000 - 2**21}", done.stderr
    assert mixed.startswith("Expected all tensors to be on the same device")
    assert full == "out of memory"
    one = pretended.run(
        "-c", "import torch; print(torch.cuda.device_count())", gpus=4, env={"CUDA_VISIBLE_DEVICES": "2"}
    )
    assert one.stdout.strip() == "1"


def test_a_wait_spoils_a_graph(pretended):
    """A captured step is counted at every replay; a wait while capturing is an error, as on a card."""
    script = """
import torch
from tests.gpu.pretended import watch
x = torch.ones(3, device="cuda")
def captured(work):
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph
graph = captured(lambda: x * 2 + 1)
watch.reset()
graph.replay(), graph.replay()
print(watch.counts()["graphs"], watch.counts()["launches inside graphs"])
captured(lambda: (x * 2).sum().item())
"""
    done = pretended.run("-c", script, env=ALLOCATOR)
    assert done.stdout.split() == ["2", "4"]
    assert "error during capture" in done.stderr
