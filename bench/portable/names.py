"""Names of components and data sets in cells: their keys must have the same ones."""

from __future__ import annotations

from pathlib import Path

from bench.errors import UserError
from bench.registry import BY_KIND, datasets
from bench.registry.source import of_this_repository
from bench.select.grammar import cut, split, unquote
from bench.select.spec import written
from bench.store.results import CellResult, Component

KINDS = {"attack": "attacks", "defense": "defenses", "victim": "victims"}
"""Role of a component in a cell -> its registry; in the order of a cell's coordinates."""


def name_problem(cell: CellResult) -> str:
    """The first name in a cell that its key does not have, or that its data set's selection does not give."""
    for (role, kind), full_text in zip(KINDS.items(), cell.preimage[3:6], strict=True):
        component: Component = getattr(cell, role)
        if not _shortens(kind, component.text, full_text):
            return f"{role}.text: {component.text[:60]!a} does not select preimage's {str(full_text)[:60]!a}"
        if component.name != (name := "+".join(cut(part, ":", most=1)[0] for part in _parts(kind, component.text))):
            return f"{role}.name: {component.name[:60]!a}, its text begins with {name[:60]!a}"
    spec, name = cell.dataset["spec"], cell.dataset["name"]
    if name not in (allowed := _dataset_names(spec, name)):
        return f"dataset.name: {name[:60]!a}, dataset.spec {spec[:60]!a} gives {' or '.join(map(ascii, allowed))}"
    return ""


def under_its_name(kind: str, component: Component, full_text: str) -> str:
    """The selection in a key by the name in the cell: `timm:model=resnet18:stem=cifar` is `resnet18:stem=cifar`."""
    name, *segments = cut(full_text, ":")
    if component.name == name or len(_parts(kind, full_text)) > 1:
        return full_text
    said = BY_KIND[kind].find(component.name)[1]
    return ":".join([component.name, *(one for one in segments if one.partition("=")[0] not in said)])


def _parts(kind: str, text: str) -> list[str]:
    return split(text) if BY_KIND[kind].chains else [text]


def _shortens(kind: str, text: str, full_text: str) -> bool:
    """True if a selection names the components of one that is written out, and no parameter with another value."""
    try:
        pairs = zip(_parts(kind, text), _parts(kind, full_text), strict=True)
        return all(_shortens_part(kind, *pair) for pair in pairs)
    except (UserError, ValueError, AttributeError, TypeError):
        return False


def _shortens_part(kind: str, text: str, full_text: str) -> bool:
    name, given = _read(text)
    full_name, values = _read(full_text)
    entry_name, kinds = name, dict.fromkeys(values, tuple(KINDS.values()))
    try:
        entry, from_name = BY_KIND[kind].find(name)
    except UserError:
        pass  # of a plug-in that was not imported
    else:
        entry_name, given = entry.name, given | {key: written(value) for key, value in from_name.items()}
        kinds = {key: (other,) for key, other in getattr(entry.cls, "others", {}).items()}
    return entry_name == full_name and all(
        key in values
        and (values[key] == value or any(_shortens(other, value, values[key]) for other in kinds.get(key, ())))
        for key, value in given.items()
    )


def _read(text: str) -> tuple[str, dict[str, str]]:
    """The name of a selection and its parameters; one without a name is `path`."""
    name, *segments = cut(text, ":")
    pairs = (cut(segment, "=", most=1) for segment in segments)
    return name, {(pair[0] if pair[1:] else "path"): unquote(pair[-1]) for pair in pairs}


def _dataset_names(spec: str, name: str) -> list[str]:
    """Names that a selection of a data set may give; any that is not taken, if this process does not have it."""
    try:
        registered, given = _read(spec)
    except UserError:
        return []
    if registered not in datasets or not of_this_repository(datasets[registered].cls.__module__):
        return [] if name in datasets else [name]
    if "path" not in datasets[registered].parameters:
        return [registered]
    path = Path(given.get("path", ""))
    return list(dict.fromkeys((path.stem, path.name)))
