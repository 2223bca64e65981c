"""`bench list`: what is registered, from the registry alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.config import preset_names, preset_summary
from bench.registry import BY_KIND, Entry, load_plugin
from bench.spec import plain


def print_list(kind: str, plugins: tuple[Path, ...]) -> None:
    """Prints the components of a kind (or the presets) as a table."""
    console = Console()
    if kind == "presets":
        table = Table("preset", "what")
        for name in preset_names():
            table.add_row(name, preset_summary(name))
        console.print(table)
        return
    for plugin in plugins:
        load_plugin(plugin)
    table = Table("name", "paper", "what", "parameters = defaults", "uses")
    for name, entry in BY_KIND[kind].items():
        label = f"{name}\n(family {entry.family})" if entry.family else name
        table.add_row(label, entry.source or "-", entry.summary, _parameters(entry), ", ".join(entry.uses) or "-")
    console.print(table)
    if kind == "attacks":
        console.print("Several are chained with +, each crafted from the clean images: lsp:eps=1.0+ops:sparsity=2")
    if kind == "victims":
        console.print("Every timm model name is a victim too: resnet18, resnet50, densenet121, mobilenetv2_100, ...")


def _parameters(entry: Entry[Any]) -> str:
    parts = []
    for name, default in entry.parameters.items():
        parts.append(f"{name} (required)" if default is dataclasses.MISSING else f"{name}={plain(default)}")
    return ", ".join(parts) or "-"
