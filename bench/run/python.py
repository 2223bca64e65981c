"""The Python interface: `from bench import run_matrix`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.run.prepare import Options, choose_executor, prepared
from bench.run.runner import Silent, run_plan
from bench.select.settings import Settings, Table
from bench.select.tasks import of_task
from leaderboard.tables.columns import as_text
from leaderboard.tables.table import cells_frame

if TYPE_CHECKING:
    import pandas as pd


def run_matrix(
    attacks: str | Sequence[str | Table] | None = None,
    defenses: str | Sequence[str | Table] | None = None,
    victims: str | Sequence[str | Table] | None = None,
    *,
    dataset: str | Table | None = None,
    preset: str | None = None,
    seeds: int | list[int] | None = None,
    task: str | None = None,
    parameters: dict[str, dict[str, dict[str, Any]]] | None = None,
    plugins: Sequence[str | Path] = (),
    store: str | Path = "results",
    data_root: str | Path = "data",
    device: str = "auto",
    executor: str = "inline",
    threads: int | None = None,
    repeat_costs: int = 1,
    engine: Literal["auto", "eager", "compile", "graph"] = "auto",
    deterministic: bool = False,
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    skip_impossible: bool = False,
    stage_timeout: float | None = None,
) -> pd.DataFrame:
    """Runs a matrix and returns its cells, the same as `bench run` with the same words.

    Args:
        attacks: a selection, for example "lsp,ops:objective=paper", or a list of selections; a list may hold tables,
            in which no value has to be quoted: [{"name": "from-file", "path": "a,b.npz"}].
        defenses: likewise, for example ["dvae", "iss"].
        victims: likewise.
        dataset: one selection, for example "cifar10:train=2000", or a table: {"name": "npz", "path": "a,b.npz"}.
        preset: `demo`, `cpu`, `fast` or `paper`; the other arguments win over it.
        seeds: a count or a list.
        task: name of a task, which fixes all of these but the defenses.
        parameters: kind -> component -> parameters, as in the TOML file.
        plugins: files to import first.
        store: folder of artifacts and results; what is there already is not computed again.
        data_root: folder of downloaded and prepared data.
        device: `auto`, `cpu`, `cuda`, `cuda:1`; `cpu` or `cuda` if the executor's jobs run on other machines and this
            one has no GPU.
        executor: selection of an executor.
        threads: CPU threads; None leaves PyTorch's number, or what the executor gives each process.
        repeat_costs: runs of a purification, of which the median counts; what is in the store keeps its cost.
        engine: `compile` sends training steps through torch.compile, `graph` replays them from CUDA graphs; `auto`, on
            a GPU, replays those that a rehearsal finds equal and faster so.
        deterministic: repeatable to the bit, and slower.
        precision: of matrix products and convolutions; `auto` is bfloat16 on a GPU that computes in it, else float32.
        skip_impossible: record cells that cannot work on this data set as skipped, instead of raising an error.
        stage_timeout: seconds after which a job is stopped and its cells fail; needs an executor with processes.

    Returns:
        One row per cell, failed ones included, with the columns of cells.csv (docs/results.md).

    Raises:
        UserError: for anything in the arguments that is wrong, before any work.
    """
    chosen = choose_executor(executor)
    options = Options(
        Path(store),
        Path(data_root),
        device,
        engine,
        deterministic,
        precision,
        chosen.threads if threads is None else threads,
        repeat_costs,
        tuple(Path(plugin) for plugin in plugins),
        skip_impossible,
        command=" ".join(sys.argv),
        elsewhere=chosen.elsewhere,
    )
    settings = Settings(preset, dataset, attacks, defenses, victims, seeds, parameters, stage_timeout=stage_timeout)
    with prepared(of_task(task, [settings]), options) as ready:
        outcome = run_plan(ready.plan, ready.store, chosen, Silent(), ready.seconds)
    return as_text(cells_frame(outcome.cells))
