"""Parameter tables: what a preset or a settings file sets for its components, on every data set or on one.

    [parameters.defenses]                  # every selection of that name starts from this
    dvae = { epochs = 30 }
    [parameters.victims]
    "*" = { flip = false }                 # all victims that have the parameter
    [datasets.cifar100.parameters.defenses.dvae]
    epochs = 100                           # stronger than the tables above, on CIFAR-100 alone

From weak to strong: a preset's tables, its tables for the data set, a file's, its tables for the data set. Inside
one table a component's own name is stronger than `*`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.errors import UserError, unknown
from bench.registry import attacks, datasets, defenses, victims
from bench.select.spec import Defaults, Selected, parse_table, written

KINDS = {"attacks": attacks, "defenses": defenses, "victims": victims}

Tables = Mapping[str, Defaults]  # kind -> component name or `*` -> parameters


def shape_problems(raw: Mapping[str, Any]) -> list[str]:
    """Problems of form in `parameters` and `datasets` of a settings file."""
    problems = _shape_of_parameters(raw.get("parameters", {}), "parameters")
    per_dataset = raw.get("datasets", {})
    if not isinstance(per_dataset, dict):
        return [*problems, f"datasets must be a table, got {per_dataset!r}; write [datasets.cifar100.parameters...]"]
    for name, settings in per_dataset.items():
        where = f"datasets.{name}"
        if not isinstance(settings, dict):
            problems.append(f"{where} must be a table, got {settings!r}; write [{where}.parameters.defenses.dvae]")
            continue
        problems += [f"{where}: {unknown('key', key, ['parameters'])}" for key in settings if key != "parameters"]
        problems += _shape_of_parameters(settings.get("parameters", {}), f"{where}.parameters")
    return problems


def _shape_of_parameters(tables: Any, where: str) -> list[str]:
    if not isinstance(tables, dict):
        return [f"{where} must be a table, got {tables!r}"]
    problems = []
    for kind, table in tables.items():
        if kind not in KINDS:
            problems.append(f"{where}: {unknown('kind', kind, KINDS)}")
        elif not isinstance(table, dict) or not all(isinstance(values, dict) for values in table.values()):
            problems.append(f"{where}.{kind} must be tables of parameters, for example dvae = {{ epochs = 30 }}")
    return problems


def check_tables(kind: str, tables: Tables | None, where: str = "") -> None:
    """Looks at every name and parameter of a kind, also at those that the matrix does not use.

    Raises:
        UserError: for a misspelt name or parameter, with the choices.
    """
    registry = KINDS[kind]
    prefix = f"{where}: " if where else ""
    for name, parameters in (tables or {}).get(kind, {}).items():
        entries = registry.values() if name == "*" else [_find(kind, name, prefix)]
        known = {parameter for entry in entries for parameter in entry.parameters}
        what = f"parameter of {kind}" if name == "*" else f"parameter of {registry.kind} {name!r}:"
        for parameter in parameters:
            if parameter not in known:
                raise UserError(f"{prefix}{unknown(what, parameter, known)}")


def _find(kind: str, name: str, prefix: str) -> Any:
    try:
        return KINDS[kind].find(name)[0]
    except UserError as error:
        raise UserError(f"{prefix}{error}") from error


def check_datasets(names: Mapping[str, Any] | None) -> None:
    """Raises UserError for a data set that is not registered."""
    for name in names or {}:
        try:
            datasets.find(name)
        except UserError as error:
            raise UserError(f"datasets.{name}: {error}") from error


def told(selected: Selected, tables: list[Defaults]) -> str:
    """`dvae epochs=100`: the parameters of a selection that have the value these tables give them; "" if none has."""
    if selected.parts:
        return ", ".join(filter(None, (told(part, tables) for part in selected.parts)))
    given = parse_table(tables, selected.entry, selected.name)
    kept = [f"{key}={written(value)}" for key, value in given.items() if getattr(selected.component, key) == value]
    return f"{selected.name} {' '.join(kept)}" if kept else ""
