"""Modules that register components: those in a folder of this repository, and those that entry points name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from bench.errors import UserError

_ROOT = Path(__file__).resolve().parents[2]  # the packages of the repository are next to `bench`, also when installed


@dataclass(frozen=True)
class Source:
    """A module that registers components.

    Attributes:
        module: its name, to be imported.
        words: what it is, for a message.
        remedy: what helps if it cannot be imported.
    """

    module: str
    words: str
    remedy: str

    def load(self) -> str:
        """Imports it; returns the reason if that fails, or ""."""
        try:
            importlib.import_module(self.module)
        except Exception as error:
            return f"{self.words} fails to import: {type(error).__name__}: {error}; {self.remedy}."
        return ""


def sources(kind: str, group: str, package: str) -> Iterator[Source]:
    """Files and sub-packages of a package of this repository, then the entry points of a group that are elsewhere.

    Names that begin with an underscore or with `test_` are no components.

    Args:
        kind: of the components.
        group: of the entry points.
        package: of this repository; "" for none.

    Raises:
        UserError: if another folder of the package's name hides it.
    """
    found = set()
    folder = package.replace(".", "/")
    if package and "." not in package:
        _not_hidden(package)
    for info in pkgutil.iter_modules([str(_ROOT / folder)]) if package else ():
        if not info.name.startswith(("_", "test_")):
            module = f"{package}.{info.name}"
            found.add(module)
            file = f"{folder}/{info.name}{'' if info.ispkg else '.py'}"
            yield Source(module, file, f"correct it, or move it out of {folder}/")
    for point in entry_points(group=group):
        if point.value not in found:
            owner = point.dist.name if point.dist else "unknown distribution"
            words = f"{kind} plug-in {point.name!r} ({point.value}, from {owner})"
            yield Source(point.value, words, f"fix or uninstall {owner}")


def _not_hidden(package: str) -> None:
    """The packages are named `attacks`, `defenses`, ...: a folder of the user may have such a name too."""
    places = [Path(place).resolve() for place in importlib.import_module(package).__path__]
    own = _ROOT / package
    if own not in places:
        raise UserError(
            f"{places[0] if places else package} hides the folder {own} of purify-bench, for Python looks there first; "
            f"rename it, start the command in another folder, or correct PYTHONPATH"
        )


def module_of(path: Path) -> str:
    """The name under which `sources` may find a file of this repository; "" for any other file."""
    path = path.resolve()
    return f"{path.parent.name}.{path.stem}" if path.parent.parent == _ROOT else ""
