"""The live display on terminals of any width: what is counted and the time left stay, the title gives way."""

import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from bench.run.progress import LiveProgress


def named(text):
    return SimpleNamespace(text=text)


@pytest.mark.parametrize("width", [120, 80, 60, 40])
def test_a_narrow_terminal_cuts_the_title_and_nothing_else(width):
    job = SimpleNamespace(key="k", stage="train", seed=0, preimage={"component": {"name": "small-cnn"}})
    cell = SimpleNamespace(
        jobs={"train": "k"},
        attack=named("em:eps=0.03:steps=20:craft_on=subset"),
        defense=named("dvae:kld=1.5:epochs=60"),
        victim=named("small-cnn:epochs=20"),
    )
    plan = SimpleNamespace(cells=28 * [cell], pending=lambda stage: [job] if stage == "train" else [])
    out = io.StringIO()
    console = Console(file=out, width=width, height=30, force_terminal=True, color_system=None)
    with LiveProgress(console, SimpleNamespace(seconds=lambda job: 7500.0)) as display:
        display.planned(plan)
        display.started(job)
        display.advanced(7, 60, "loss 0.53")
        display._progress.refresh()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    matrix, running = [line.rstrip() for line in shown.splitlines() if "/" in line][-2:]
    for part in ("0/1", "1 job left, about 2 h 05 min"):
        assert part in matrix
    for part in ("7/60", "loss 0.53"):
        assert part in running
    assert "…" in running, "the title alone is cut"
    assert max(map(len, (matrix, running))) <= width
