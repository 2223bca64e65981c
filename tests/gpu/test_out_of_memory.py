"""A pretended GPU without room for a whole batch: torch's own allocator says so, and parts of it fit."""

import json

SCRIPT = """
import json, sys
from pathlib import Path
import torch
from torch import nn
from bench import run_matrix
from tests.gpu.pretended import watch
from victims.small import Linear
watch.believe_what_is_on_the_device()
def build(self, info):
    layers = [nn.Sequential(nn.Conv2d(512 if n else 3, 512, 1), nn.ReLU()) for n in range(12)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, info.num_classes))
Linear.build = build
words = {"preset": "demo", "dataset": "shapes:train=64:test=32", "device": "cuda", "engine": "auto"}
cells = []
for megabytes in (4000, 1000):
    store = Path(sys.argv[1], str(megabytes))
    torch.cuda.set_per_process_memory_fraction(megabytes * 1e6 / torch.cuda.mem_get_info()[1])
    run_matrix("none", "none", "linear:epochs=1:batch_size=64", store=store, **words)
    cells += [json.loads(path.read_text()) for path in store.glob("cells/*.json")]
print(json.dumps(cells))
"""


def test_a_batch_that_does_not_fit_is_computed_in_parts(pretended, tmp_path):
    """Each of the 24 results that a batch leaves for the backward pass takes 64 MiB."""
    done = pretended.run("-c", SCRIPT, tmp_path, env={"PYTORCH_NO_CUDA_MEMORY_CACHING": None})
    assert done.returncode == 0, done.stderr[-3000:]
    whole, parts = json.loads(done.stdout.splitlines()[-1])
    assert "micro_batches" not in whole["logs"]["train"]
    assert parts["status"] == "done", parts["error"]
    logs = parts["logs"]["train"]
    assert logs["micro_batches"] == 4
    assert logs["first_try"].startswith("CUDA out of memory. Tried to allocate ")
    assert logs["linear.train.engine"] == "graph", "parts are captured too"
    peaks = [cell["costs"]["train"]["peak_gpu_bytes"] for cell in (whole, parts)]
    assert peaks[1] < 0.4 * peaks[0], peaks
