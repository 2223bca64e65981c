"""Tasks: matrices with a name and a version, in which only the defenses are a choice. One TOML file each.

A task fixes data set, attacks, victims, seeds and preset; its defenses are the baselines. A file never changes, and
neither do the parameters that its words stand for: `tests/bench/select/test_tasks.py` has the digest of both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.errors import UserError, unknown
from bench.select.grammar import cut
from bench.select.matrix import Matrix, make_matrix
from bench.select.settings import Settings, read_settings
from bench.select.sizes import known_sizes
from bench.select.spec import digest
from bench.store.results import CellResult

FOLDER = Path(__file__).parent
_FIXED = ("preset", "dataset", "attacks", "victims", "seeds", "parameters", "datasets")


def names() -> list[str]:
    """All of them, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read(name: str) -> Settings:
    """The settings of a task.

    Raises:
        UserError: for an unknown name.
    """
    if name not in names():
        raise unknown("task", name, names())
    return read_settings(FOLDER / f"{name}.toml")


def summary(name: str) -> str:
    """The comment that opens its file."""
    return (FOLDER / f"{name}.toml").read_text(encoding="utf-8").splitlines()[0].lstrip("# ")


def of_task(name: str | None, layers: Sequence[Settings]) -> list[Settings]:
    """The settings, with those of a task below them; without a task the settings alone.

    Raises:
        UserError: for an unknown task, or a setting that the task fixes.
    """
    if name is None:
        return list(layers)
    task = read(name)
    for field in _FIXED:
        if any(getattr(layer, field) is not None for layer in layers):
            raise UserError(
                f"{field}: task {name} fixes it; leave it out, or write the words of the task without its name: "
                f"`bench describe {name}`"
            )
    return [task, *layers]


def definition(name: str) -> str:
    """Digest of all that the words of a task stand for: every parameter, the victims' recipes, the seeds."""
    matrix = make_matrix([read(name)])
    recipes = [str(victim.component.recipe) for victim in matrix.victims]
    return digest([matrix.preset, matrix.dataset, *_texts(matrix), recipes, list(matrix.seeds)])


def task_label(cells: Iterable[CellResult]) -> str:
    """The task that all these cells are of, with how much of it is finished and in which precision; or "".

    Of each defense and precision, a task has a cell for each attack, victim and seed.
    """
    cells = list(cells)
    if not (name := task_of(cells)):
        return ""
    matrix = make_matrix([read(name)])
    rows = {(cell.preimage[4], cell.precision) for cell in cells}
    whole = len(matrix.attacks) * len(matrix.victims) * len(matrix.seeds) * len(rows)
    done = sum(cell.status == "done" for cell in cells)
    precisions = " and ".join(sorted({cell.precision for cell in cells}))
    return f"{name}, {precisions}: {done} of {whole} cells"


def task_of(cells: Iterable[CellResult]) -> str:
    """The task that all these cells are of; "" if there is none. Their defenses and precision do not matter."""
    cells = list(cells)
    for name in names():
        task = read(name)
        if not cells or any(cell.preset != task.preset or not cell.preimage for cell in cells):
            continue
        matrix = make_matrix([task])
        attacks, _, victims = map(set, _texts(matrix))
        made_of = {"name": cut(matrix.dataset, ":")[0], **known_sizes(matrix.dataset)}  # the digest takes the files
        if all(
            cell.dataset["spec"] == matrix.dataset
            and all(cell.dataset[field] == value for field, value in made_of.items())
            and cell.preimage[3] in attacks
            and cell.preimage[5] in victims
            and cell.seed in matrix.seeds
            for cell in cells
        ):
            return name
    return ""


def _texts(matrix: Matrix) -> list[list[str]]:
    """Attacks, defenses and victims with all parameters."""
    return [[one.full_text for one in chosen] for chosen in (matrix.attacks, matrix.defenses, matrix.victims)]
