"""`bench list`: what is registered, from the registry alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import presets
from bench.registry import BY_KIND, Entry, load_plugin
from bench.spec import written


def print_list(kind: str, plugins: tuple[Path, ...]) -> None:
    """Prints the components of a kind (or the presets) as a table."""
    console = Console()
    if kind == "presets":
        console.print(_presets())
        return
    for plugin in plugins:
        load_plugin(plugin)
    table = Table()
    for heading in ("name", "paper", "what", "parameters = defaults", "uses"):
        table.add_column(heading, overflow="fold")
    for name, entry in BY_KIND[kind].items():
        label = f"{name}\n(family {entry.family})" if entry.family else name
        table.add_row(label, entry.source or "-", entry.summary, _parameters(entry), ", ".join(entry.uses) or "-")
    console.print(table)
    if kind == "attacks":
        console.print(
            "Chains, each part crafted from the clean images: em+ops (CIFAR-10-S), lsp:eps=1.0+ops:sparsity=2"
        )
    if kind == "victims":
        console.print("Every timm model name is a victim too: resnet18, resnet50, densenet121, mobilenetv2_100, ...")


def _presets() -> Table:
    """Every preset with what it changes in the components' defaults, on all data sets and on single ones."""
    table = Table("preset", "what", "parameters other than the defaults")
    for name in presets.names():
        raw = presets.read(name)
        changes = _changes(raw.get("parameters", {}))
        for dataset, settings in raw.get("datasets", {}).items():
            changes += [f"on {dataset}, {change}" for change in _changes(settings["parameters"])]
        mark = "\n(unvalidated)" if name in presets.unvalidated() else ""
        table.add_row(name + mark, presets.summary(name), "\n".join(changes), end_section=True)
    return table


def _changes(tables: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    return [
        f"{component if component != '*' else f'all {kind}'}: "
        + ", ".join(f"{k}={written(v)}" for k, v in values.items())
        for kind, components in tables.items()
        for component, values in components.items()
    ]


def _parameters(entry: Entry[Any]) -> str:
    parts = []
    for name, default in entry.parameters.items():
        parts.append(f"{name} (required)" if default is dataclasses.MISSING else f"{name}={written(default)}")
    return ", ".join(parts) or "-"
