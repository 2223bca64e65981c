"""The registered components in words, for the method page."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from dataclasses import MISSING
from pathlib import Path

from bench import formats
from bench.registry import BY_KIND, attacks, defenses, victims
from bench.select.spec import plain
from leaderboard.site.methods import Method


def methods(stores: Sequence[Path] = ()) -> list[Method]:
    """The registered components in words: the leaderboard itself never imports them, for they import torch.

    Args:
        stores: folders of `bench export` among them may hold plug-ins that are not registered here. Their paper and
            docstring are read from the text of the file: nothing of it is executed.
    """
    files = sorted(file for store in stores for file in (store / "plugins").rglob("*.py"))
    there = {(method.kind, method.name): method for file in files for method in _read(file)}
    here = _registered()
    known = {(method.kind, method.name) for method in here}
    return here + [method for name, method in there.items() if name not in known]


def _read(file: Path) -> Iterator[Method]:
    """Components that a file registers by `@defenses.register("name", source="...")`, with their docstrings."""
    try:
        module = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # a helper of a stranger; only `bench verify --plugin` needs it whole
        return
    for node in module.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef):
            continue
        for call in node.decorator_list:
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.args):
                continue
            registry, name = call.func.value, call.args[0]
            if call.func.attr != "register" or not isinstance(registry, ast.Name) or registry.id not in BY_KIND:
                continue
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                named = {keyword.arg: keyword.value for keyword in call.keywords}
                source = named.get("source")
                paper = str(source.value) if isinstance(source, ast.Constant) else ""
                heading, description = _opening(ast.get_docstring(module)), ast.get_docstring(node) or ""
                kind = BY_KIND[registry.id].kind
                yield Method(kind, name.value, paper, description=description, heading=heading)


def _registered() -> list[Method]:
    return [
        Method(
            kind=registry.kind,
            name=name,
            source=entry.source,
            family=entry.family,
            uses=entry.uses,
            traits=traits.words if (traits := registry.traits(name)) else (),
            against=traits.against if traits else "",
            description=entry.cls.__doc__ or "",
            heading=_heading(entry.cls.__module__),
            inherited=tuple(base.__doc__ or "" for base in entry.cls.__mro__[1:-1]),
            parameters={
                parameter: "required" if default is MISSING else str(formats.setting(plain(default)))
                for parameter, default in entry.parameters.items()
            },
        )
        for registry in (attacks, defenses, victims)
        for name, entry in registry.items()
    ]


def _heading(module: str) -> str:
    """First paragraphs of a module and of the package around it, if that is no folder of all methods of a kind."""
    package = module.rpartition(".")[0]
    names = [module, *([package] if "." in package else [])]
    return " ".join(filter(None, (_opening(sys.modules[name].__doc__) for name in names if name in sys.modules)))


def _opening(docstring: str | None) -> str:
    return " ".join((docstring or "").strip().partition("\n\n")[0].split())
