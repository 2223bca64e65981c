"""The components that a cell names, and the plug-in files among their sources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.portable.folder import Plugin
from bench.portable.names import KINDS
from bench.portable.sources import sources_of
from bench.registry import BY_KIND, Entry
from bench.registry.source import files_of, of_this_repository, source_digest
from bench.select.grammar import cut, split, unquote
from bench.store.results import CellResult, Manifest


@dataclass(frozen=True)
class Named:
    """A registered component that a selection names.

    Attributes:
        kind: `attack`, `defense` or `victim`.
        entry: where it was registered.
    """

    kind: str
    entry: Entry[Any]

    @property
    def label(self) -> str:
        """Kind and name."""
        return f"{self.kind} {self.entry.name}"

    @property
    def is_plugin(self) -> bool:
        """True if its source is not in this repository."""
        return not of_this_repository(self.entry.cls.__module__)


def named(kind: str, full_text: str) -> Iterator[Named]:
    """The components of a selection that writes all parameters out: itself, the parts of a chain, what they name.

    Raises:
        UserError: for a name that is not registered.
    """
    registry = BY_KIND[kind]
    for part in split(full_text) if registry.chains else [full_text]:
        name, *segments = cut(part, ":")
        entry, _ = registry.find(name)
        yield Named(registry.kind, entry)
        given = {key: unquote(value) for key, _, value in (segment.partition("=") for segment in segments)}
        for key, other in getattr(entry.cls, "others", {}).items():
            yield from named(other, given[key])


def components_of(cell: CellResult) -> dict[str, Named]:
    """By label, the components that a cell names."""
    texts = cell.preimage[3:6]
    return {one.label: one for kind, text in zip(KINDS.values(), texts, strict=True) for one in named(kind, text)}


def plugin_files(
    components: Iterable[Named], manifests: Iterable[Manifest]
) -> tuple[list[Plugin], dict[str, bytes | Path]]:
    """The plug-ins among components: their entries in the index, and their files by path in the folder.

    Args:
        components: of all cells.
        manifests: of all cells; the source in them must be the source of today.

    Raises:
        UserError: if a plug-in was changed after the cells were computed, or two helpers have one name.
    """
    computed = sources_of(manifests)
    plugins: dict[str, Plugin] = {}
    files: dict[str, bytes | Path] = {}
    for one in sorted((one for one in components if one.is_plugin), key=lambda one: one.label):
        module = one.entry.cls.__module__
        now = source_digest(module)
        if stale := sorted(computed.get(one.label, set()) - {now}):
            raise UserError(
                f"{one.label}: its source is {now[:12]}..., and cells were computed with {stale[0][:12]}...; give the "
                "file as it was with --plugin, or run the same command again and export then"
            )
        own = {f"plugins/{name}": path for name, path in files_of(module).items()}
        if taken := next((name for name, path in own.items() if files.get(name, path) != path), None):
            raise UserError(f"{one.label}: another plug-in has a file {taken} too; rename one of them")
        files |= own
        plugins.setdefault(module, Plugin(next(iter(own)), {})).components[one.label] = now
    return [plugins[module] for module in sorted(plugins)], files
