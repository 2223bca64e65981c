"""Descriptions of components in cells, against the registry of this checkout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bench.errors import UserError
from bench.plan.describe import describe
from bench.portable.names import KINDS, under_its_name
from bench.registry import BY_KIND
from bench.registry.source import source_digest
from bench.select import presets
from bench.select.settings import preset_settings
from bench.select.spec import Selected, select
from bench.stages.jobs import ROLES
from bench.store.results import CellResult, Component, Manifest


class Registered:
    """Components that selections name, as this process has them."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, ...], Selected | None] = {}

    def of(self, cell: CellResult, role: str) -> Selected | None:
        """The component of a cell in this role; None if this process does not have it, or cannot make it."""
        kind, full_text = KINDS[role], cell.preimage[3 + list(KINDS).index(role)]
        component: Component = getattr(cell, role)
        place = (kind, component.name, full_text, cell.preset, cell.dataset["spec"].partition(":")[0])
        if place not in self._found:
            try:
                text = under_its_name(kind, component, full_text)
            except UserError:
                text = full_text
            self._found[place] = _selected(kind, text, cell.preset, place[-1])
        return self._found[place]


def _selected(kind: str, full_text: str, preset: str, dataset: str) -> Selected | None:
    tables = preset_settings(preset).layers(kind, dataset) if preset in presets.names() else ()
    try:
        found = select(BY_KIND[kind], full_text, (), tables)
    except UserError:
        return None
    return found[0] if len(found) == 1 else None


def differences(
    cell: CellResult, manifests: Mapping[str, Manifest], registered: Registered
) -> Iterator[tuple[str, bool]]:
    """Descriptions of a cell that this checkout, with the same source, has otherwise.

    Yields:
        The field with both values, and True if another commit may have said so: the text of a selection depends on
        presets, and traits of attacks are a table, which no source digest covers.
    """
    for stage, role in ROLES.items():
        selected = registered.of(cell, role)
        identity = manifests[stage].preimage.get("component") if stage in manifests else None
        if selected is None or not _same_source(identity, selected):
            continue
        there, here = getattr(cell, role), describe(selected)
        for name in ("name", "source", "family", "uses"):
            yield from _unequal(f"{role}.{name}", getattr(there, name), getattr(here, name), False)
        yield from _unequal(f"{role}.text", there.text, here.text, True)
        for name in sorted(there.extra.keys() | here.extra.keys()):
            one, other = there.extra.get(name), here.extra.get(name)
            if isinstance(one, Mapping) and isinstance(other, Mapping):  # a field of a newer release is in one of them
                one, other = ({key: of[key] for key in one.keys() & other.keys()} for of in (one, other))
            yield from _unequal(f"{role}.extra.{name}", one, other, name == "traits")


def _unequal(field: str, there: Any, here: Any, may: bool) -> Iterator[tuple[str, bool]]:
    if there != here:
        yield f"{field}: {ascii(there)[:60]}, this checkout has {ascii(here)[:60]}", may


def _same_source(identity: Any, selected: Selected) -> bool:
    """True if a key was made with the source that this process has, also that of a chain's parts and of others."""
    if not isinstance(identity, Mapping):
        return False
    if selected.parts:
        parts = identity.get("parts")
        return (
            isinstance(parts, list)
            and len(parts) == len(selected.parts)
            and all(map(_same_source, parts, selected.parts))
        )
    others = identity.get("others", {})
    return (
        identity.get("source") == source_digest(selected.entry.cls.__module__)
        and isinstance(others, Mapping)
        and all(_same_source(others.get(key), other) for key, other in selected.others.items())
    )
