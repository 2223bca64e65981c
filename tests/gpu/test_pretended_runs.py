"""`make gpu` on a pretended GPU: rates, plain, compiled and from CUDA graphs, and cells through the store."""

import json

RATES = ("training", "training-large-batch", "training-compiled", "training-deterministic", "dvae", "at", "pgd")
CELLS = ("demo/none/none/0", "demo/lsp/dvae/0", "demo/ar/iss/0", "demo/em/none/0", "demo/ops/at/0")


def measured(pretended, store, wanted, **options):
    """The finished command, and its slices."""
    words = [word for name in wanted for word in ("--slice", name)]
    done = pretended.run(
        "-m", "tests.gpu.pretended.believing", "gpu", "--toy", "--device", "cuda", "--store", store, *words, **options
    )
    return done, json.loads((store / "gpu.json").read_text())["slices"]


def test_make_gpu_measures_what_it_can_and_goes_on(pretended, tmp_path):
    """EM changes no image where kernels do nothing: its slice fails, says why, and the next ones are measured."""
    wanted = [*(f"rates/{name}" for name in RATES), *CELLS]
    done, slices = measured(pretended, tmp_path, wanted)
    failed = {name: entry["error"] for name, entry in slices.items() if "error" in entry}
    assert list(failed) == ["demo/em/none/0"], (failed, done.stderr[-3000:])
    assert "changed no image" in failed["demo/em/none/0"]
    assert set(slices) == set(wanted)
    assert done.returncode == 1
    assert "demo/em/none/0: ContractError in poison" in done.stdout
    for entry in slices.values():
        assert entry["environment"]["device"].startswith("Pretended H100, ")
        assert entry["environment"]["cuda"]
        assert entry["asked"]["precision"] == "bfloat16"
    cells = [cell for name in CELLS if name not in failed for cell in slices[name]["cells"]]
    assert [cell["defense"] for cell in cells] == ["none", "dvae", "iss-gray", "iss-jpeg", "iss-bdr", "at"]
    assert all(cell["status"] == "done" for cell in cells)


def test_rates_of_cuda_graphs_are_of_replayed_steps(pretended, tmp_path):
    """With PyTorch's allocator they are replayed; without it nothing can be captured, and that is no rate."""
    graphs = [f"rates/{name}-graph" for name in ("training", "dvae", "at")]
    done, slices = measured(pretended, tmp_path, graphs, env={"PYTORCH_NO_CUDA_MEMORY_CACHING": None})
    assert done.returncode == 0, done.stderr[-3000:]
    assert set(slices) == set(graphs)
    done, slices = measured(pretended, tmp_path, graphs[:1])
    assert done.returncode == 1
    assert "steps were not replayed from a CUDA graph" in slices[graphs[0]]["error"]
    assert "not captured" in slices[graphs[0]]["error"]


def test_a_matrix_runs_on_several_gpus_to_its_end(pretended, tmp_path):
    words = "--attacks ops --defenses none --dataset shapes:train=96:test=64 --victims linear:epochs=1 --preset demo"
    where = ("--engine", "eager", "--executor", "local:gpus=all", "--store", tmp_path)
    done = pretended.run("-m", "tests.gpu.pretended.believing", "bench", "run", *words.split(), *where, gpus=2)
    assert done.returncode == 0, done.stderr[-3000:]
    cells = [json.loads(file.read_text()) for file in (tmp_path / "cells").glob("*.json")]
    assert [cell["status"] for cell in cells] == ["done"] * 2
    assert {cell["provenance"]["device"].split(",")[0] for cell in cells} == {"Pretended H100"}
