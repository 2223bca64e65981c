"""What the harness adds to a stage: a matrix of components that do nothing, against direct calls of the same."""

import functools
import itertools
from pathlib import Path

import torch

from bench import run_matrix
from bench.api import Context
from bench.datasets import loading
from bench.registry import attacks, defenses, load_plugin, victims
from bench.training import Batches, build, cross_entropy, fit, predict

from .ratio import Run

_PLUGIN = Path(__file__).parent / "nothing.py"


def bench_matrix(run: Run) -> None:
    """Matrix overhead a stage, input passed on; plain: direct function calls."""
    _overhead(run, copies=False)


def bench_matrix_of_copies(run: Run) -> None:
    """Matrix overhead a stage, every image set stored; plain: direct function calls."""
    _overhead(run, copies=True)


def _overhead(run: Run, copies: bool) -> None:
    run.device = torch.device("cpu")
    dataset = f"shapes:train={run.size(full=2000, tiny=20)}:test={run.size(full=1000, tiny=10)}"
    load_plugin(_PLUGIN)
    tags = range(run.size(full=3, tiny=1))
    selections = [f"nothing:tag={tag}:copies={str(copies).lower()}" for tag in tags]
    sides = [
        [registry["none"].cls(), *(registry["nothing"].cls(tag, copies) for tag in tags)]  # as a matrix adds `none`
        for registry in (attacks, defenses)
    ]
    cells = len(sides[0]) * len(sides[1])
    stores = (run.folder / f"store-{number}" for number in itertools.count())

    def matrix() -> None:
        where = {"store": next(stores), "data_root": run.folder, "device": "cpu"}
        found = run_matrix(selections, selections, "nothing", dataset=dataset, seeds=1, plugins=[_PLUGIN], **where)
        assert (found["status"] == "done").sum() == cells

    def direct() -> None:
        loading.load.cache_clear()  # a matrix draws the images anew, too
        splits = loading.load(dataset, run.folder)
        context, victim = Context(0, run.device, run.folder), victims["nothing"].cls()
        build_victim = functools.partial(victim.build, splits.train.info)
        for attack in sides[0]:
            poisoned = attack.poison(splits.train, context)
            for defense in sides[1]:
                train = defense.purify(poisoned, context)
                model = build(build_victim, context)
                batches = Batches(train, run.device, victim.recipe.batch_size, context.generator("batch-order"))
                fit(model, batches, cross_entropy(model), victim.recipe, context)
                predict(model, splits.test.images, run.device)

    run.overhead(matrix, direct, at_most=0.05, count=len(sides[0]) + 2 * cells, note=f"{cells} cells")
