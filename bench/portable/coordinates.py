"""Coordinates of a cell: its key, its record and the keys of its artifacts must all have the same ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bench.errors import UserError
from bench.plan.keys import cell_key
from bench.portable.names import name_problem
from bench.select.grammar import cut, split, unquote
from bench.select.spec import digest, written
from bench.stages.clean_images import DECLARED
from bench.stages.jobs import ROLES
from bench.store.results import CellResult, Component, Manifest

_ACTS = ("trains_differently", "changes_recipe", "sees_test_images")


def coordinates(cell: CellResult, path: str) -> str:
    """The first coordinate of a cell that does not fit its key or its record."""
    try:
        preset, precision, digests, *texts, seed = cell.preimage
        texts_of = dict(zip(("attack", "defense", "victim"), texts, strict=True))
        if cell.key != cell_key(cell.preimage):
            return f"key: {cell.key!a} does not follow from preimage, whose key is {cell_key(cell.preimage)}"
        if path != f"cells/{cell.key}.json":
            return f"key: {cell.key!a} is not the name of the file"
        if len(digests) not in (2, 3):  # training, test and, where the data set keeps some, clean images
            raise ValueError
        of_dataset = digest(digests)
    except (ValueError, TypeError):
        return "preimage: is not what this release records; run the matrix again with it"
    record = {"preset": cell.preset, "precision": cell.precision, "seed": cell.seed}
    record["dataset.digest"] = cell.dataset["digest"]
    coordinates = {"preset": preset, "precision": precision, "seed": seed, "dataset.digest": of_dataset}
    if differing := next((name for name in record if record[name] != coordinates[name]), None):
        return f"{differing}: {record[differing]!a}, preimage has {coordinates[differing]!a}"
    for role, text in texts_of.items():
        component: Component = getattr(cell, role)
        if not _writes_out(text, component.parameters):
            return f"{role}.parameters: are not those of preimage, {str(text)!a}"
    return name_problem(cell)


def _writes_out(text: str, parameters: Mapping[str, Any]) -> bool:
    """True if a selection has these parameters and no others: `Selected.full_text`, `Selected.parameters`."""
    try:
        parts = split(text)
        if len(parts) > 1:
            names = [cut(part, ":", most=1)[0] for part in parts]
            whole = len(parameters) == sum(len(_below(parameters, name)) for name in names)
            return whole and all(map(_writes_out, parts, (_below(parameters, name) for name in names)))
        given = {key: unquote(value) for key, _, value in (one.partition("=") for one in cut(text, ":")[1:])}
    except (UserError, AttributeError, TypeError):
        return False
    own = {name: value for name, value in parameters.items() if "." not in name}
    if given.keys() != own.keys():
        return False
    return all(
        _writes_out(value, below) if (below := _below(parameters, key)) else value == written(own[key])
        for key, value in given.items()
    )


def _below(parameters: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key.removeprefix(f"{name}."): value for key, value in parameters.items() if key.startswith(f"{name}.")}


def chain(cell: CellResult, manifests: Mapping[str, Manifest]) -> Iterator[str]:
    """Coordinates of a cell that the keys of its artifacts do not have."""
    texts = dict(zip(("attack", "defense", "victim"), cell.preimage[3:6], strict=True))
    acts = any(cell.defense.extra.get(face) for face in _ACTS)
    mixes = acts and DECLARED in cell.defense.uses
    for stage, manifest in manifests.items():
        preimage = manifest.preimage
        earlier = {"poison": {}, "purify": {"poison": cell.artifacts.get("poison")}}
        expected: dict[str, Any] = {
            "precision": cell.precision,
            "inputs": earlier.get(stage, {"purify": cell.artifacts.get("purify")}),
            "dataset": cell.preimage[2][0] if stage == "poison" else None,
            "test": cell.preimage[2][1] if stage == "train" else None,
            "clean": cell.preimage[2][2:] if stage == "train" and mixes else None,
        }
        if preimage.get("seed") is not None:
            expected["seed"] = cell.seed
        for name, value in expected.items():
            if preimage.get(name) != value:
                yield f"artifacts.{stage}: its {name} is {short(preimage.get(name))}, the cell's {short(value)}"
        roles = {"component": ROLES[stage], **({"defense": "defense"} if stage == "train" and acts else {})}
        for field, role in roles.items():
            if not _identifies(preimage.get(field), texts[role], getattr(cell, role)):
                yield f"artifacts.{stage}: its {field} is not the cell's {role}"
        if stage == "train" and not acts and preimage.get("defense") is not None:
            yield "artifacts.train: a defense acts in it, and the cell's acts before"


def _identifies(identity: Any, text: str, component: Component) -> bool:
    """True if a key's facts about a component are those of a selection."""
    if not isinstance(identity, Mapping) or identity.get("parameters") != component.parameters:
        return False
    return bool(identity.get("name") == "+".join(cut(part, ":", most=1)[0] for part in split(text)))


def short(value: Any) -> str:
    """A value of a stranger, for a message: ASCII, of limited length."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
