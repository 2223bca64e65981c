"""`make gpu` on a pretended GPU: rates, eager and compiled, and cells through the store."""

import json

CELLS = ("demo/none/none/0", "demo/lsp/dvae/0", "demo/ar/iss/0", "demo/em/none/0", "demo/ops/at/0")
# Without rates/dvae-compiled: compiling takes longer than all else.
RATES = ("training", "training-large-batch", "training-compiled", "training-deterministic", "dvae", "at", "at-compiled")


def test_make_gpu_measures_what_it_can_and_goes_on(pretended, tmp_path):
    """EM changes no image where kernels do nothing: its slice fails, says why, and the next ones are measured."""
    wanted = [*(f"rates/{name}" for name in RATES), "rates/pgd", *CELLS]
    words = [word for name in wanted for word in ("--slice", name)]
    done = pretended.run("-m", "gpu", "--toy", "--device", "cuda", "--store", tmp_path, *words)
    slices = json.loads((tmp_path / "gpu.json").read_text())["slices"]
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
