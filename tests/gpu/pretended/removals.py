"""Takes away one `.to(device)` of the code at a time, and says which case of `components` notices.

    python -m tests.gpu.pretended python -m tests.gpu.pretended.removals

tries every place; a test tries `NOTICED`. Each try is a fork of a process that has imported torch and nothing of this
project: its imports read the changed source.
"""

from __future__ import annotations

import ast
import importlib.machinery
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import torch  # noqa: F401  (before the forks, which share it)

ROOT = Path(__file__).parents[3]
SEARCHED = ("bench/training", "bench/stages", "attacks", "defenses")

# One of each kind of code: file, function, number of the removal there, and the case that must fail.
NOTICED = (
    ("bench/training/seeding.py", "build", 0, "victims", "small-cnn"),
    ("bench/training/batches.py", "drawn", 0, "victims", "small-cnn"),
    ("bench/training/evaluate.py", "accuracy", 0, "victims", "small-cnn"),
    ("attacks/tap/__init__.py", "craft", 0, "attacks", "tap:shift=2:flip=true:restarts=2"),
    ("defenses/dvae/training.py", "rewrite", 0, "defenses", "dvae"),
)


@dataclass(frozen=True)
class Place:
    """A call `value.to(...)` with a device.

    Attributes:
        file: relative to the repository.
        function: that it is in.
        number: of the calls of this function, from 0.
        start, end: of what is cut out of the source.
    """

    file: str
    function: str
    number: int
    start: int
    end: int

    @property
    def line(self) -> int:
        return self._source()[: self.start].count("\n") + 1

    def removed(self) -> str:
        """The source without the call."""
        source = self._source()
        return source[: self.start] + source[self.end :]

    def _source(self) -> str:
        return (ROOT / self.file).read_text(encoding="utf-8")


def places() -> list[Place]:
    """All of them, in the order of files and lines."""
    found = []
    for folder in SEARCHED:
        for path in sorted((ROOT / folder).rglob("*.py")):
            found += _places_of(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))
    return found


def _places_of(file: str, source: str) -> list[Place]:
    lines = [0]
    for line in source.splitlines(keepends=True):
        lines.append(lines[-1] + len(line))
    found: list[Place] = []

    def visit(node: ast.AST, function: str) -> None:
        if isinstance(node, ast.FunctionDef):
            function = node.name
        for child in ast.iter_child_nodes(node):
            visit(child, function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "to":
            if not any("device" in ast.unparse(argument) for argument in node.args):
                return
            name_end, end = (lines[row - 1] + column for row, column in (_end(node.func), _end(node)))
            start = source.rindex(".", 0, name_end)  # behind the parenthesis of a value in one
            number = sum(place.function == function for place in found)
            found.append(Place(file, function, number, start, end))

    visit(ast.parse(source), "")
    return found


def _end(node: ast.expr) -> tuple[int, int]:
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return node.end_lineno, node.end_col_offset


def noticed(place: Place, kind: str = "", text: str = "") -> str:
    """What the case raised with the call removed, or ""; without a case, the first of all that raises."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        with os.fdopen(write, "w") as answer:
            try:
                answer.write(_tried(place, kind, text))
            except BaseException as error:
                answer.write(f"{type(error).__name__}: {error}")
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        found = answer.read()
    os.waitpid(child, 0)
    return found


def _tried(place: Place, kind: str, text: str) -> str:
    _import_instead(ROOT / place.file, place.removed())
    from tests.gpu.pretended import components, watch

    watch.refuse_waits_in_steps()
    watch.believe_what_is_on_the_device()
    every = [(kind, text)] if kind else [(k, t) for k in components.KINDS for t in components.cases(k)]
    for kind, text in every:
        try:
            components.run(kind, text)
        except Exception as error:
            return f"{kind} {text}: {type(error).__name__}: {str(error).splitlines()[0]}"
    return ""


def _import_instead(path: Path, source: str) -> None:
    """The next import of this file gets that source."""
    original = importlib.machinery.SourceFileLoader.get_code

    def get_code(self, name):
        if Path(self.path) == path:
            return compile(source, self.path, "exec")
        return original(self, name)

    importlib.machinery.SourceFileLoader.get_code = get_code


def report() -> dict[str, str]:
    """What each case of `NOTICED` raised."""
    every = {(place.file, place.function, place.number): place for place in places()}
    return {
        f"{file} {function} {number}": noticed(every[file, function, number], kind, text)
        for file, function, number, kind, text in NOTICED
    }


if __name__ == "__main__":
    if sys.argv[1:] == ["--json"]:
        print(json.dumps(report()))
    else:
        for place in places():
            print(
                f"{place.file}:{place.line} {place.function} {place.number}: {noticed(place) or 'NOBODY'}", flush=True
            )
