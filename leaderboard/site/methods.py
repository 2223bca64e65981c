"""The method page: what each attack, defense and victim is, from descriptions that the caller took from the registry.

Nothing here imports a component, because components import torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench import formats
from bench.select.docstrings import read_docstring
from bench.store.results import CellResult, Component

KINDS = {"attack": "Attacks", "defense": "Defenses", "victim": "Victims"}


@dataclass(frozen=True)
class Method:
    """A registered component in words.

    Attributes:
        kind: attack, defense or victim.
        name: registered name.
        source: the paper (arXiv id or venue), or "".
        family: or "".
        uses: knowledge beyond the poisoned set.
        traits: words for the kind of an attack.
        against: the defense an attack was designed to survive, or "".
        description: its docstring, or "".
        heading: the first paragraph of its file, and of the sub-package that it is in: its long name; or "".
        inherited: docstrings of the classes it builds on, nearest first: they say what inherited parameters mean.
        parameters: with their defaults as text; "required" where there is none.
    """

    kind: str
    name: str
    source: str = ""
    family: str = ""
    uses: tuple[str, ...] = ()
    traits: tuple[str, ...] = ()
    against: str = ""
    description: str = ""
    heading: str = ""
    inherited: tuple[str, ...] = ()
    parameters: Mapping[str, str] | None = None


@dataclass(frozen=True)
class MethodCard:
    """A method on the page: the docstring in paragraphs, meanings of parameters, and the selections that were run."""

    method: Method
    anchor: str
    link: str
    paragraphs: list[str]
    parameters: list[tuple[str, str, str]]
    selections: list[tuple[str, str]]


def method_cards(methods: Sequence[Method], cells: Iterable[CellResult]) -> list[tuple[str, list[MethodCard]]]:
    """Headings with their methods: all that are given, and those that only the cells know (from their settings)."""
    ran: dict[tuple[str, str], dict[str, Component]] = {}
    for cell in cells:
        for kind in KINDS:
            component: Component = getattr(cell, kind)
            ran.setdefault((kind, component.name), {})[component.text] = component
    known = {(method.kind, method.name): method for method in methods}
    for (kind, name), selections in ran.items():
        known.setdefault((kind, name), _from_cells(kind, name, selections))
    return [
        (heading, [_card(m, ran.get((m.kind, m.name), {})) for _, m in sorted(known.items()) if m.kind == kind])
        for kind, heading in KINDS.items()
    ]


def _from_cells(kind: str, name: str, selections: Mapping[str, Component]) -> Method:
    first = selections[min(selections)]
    return Method(kind, name, first.source, first.family, tuple(first.uses), tuple(first.extra.get("traits", ())))


def _card(method: Method, selections: Mapping[str, Component]) -> MethodCard:
    paragraphs, own = read_docstring(method.description)
    meanings: dict[str, str] = {}
    for text in reversed(method.inherited):
        meanings |= read_docstring(text)[1]
    meanings |= own
    arxiv = re.search(r"arXiv:(\d{4}\.\d{4,5})", method.source)
    return MethodCard(
        method=method,
        anchor=f"{method.kind}-{method.name}",
        link=f"https://arxiv.org/abs/{arxiv[1]}" if arxiv else "",
        paragraphs=paragraphs,
        parameters=[(name, value, meanings.get(name, "")) for name, value in (method.parameters or {}).items()],
        selections=[(text, _settings(component)) for text, component in sorted(selections.items())],
    )


def _settings(component: Component) -> str:
    return ", ".join(f"{name} = {_text(value)}" for name, value in sorted(component.parameters.items()))


def _text(value: object) -> str:
    """A parameter as JSON writes it, a float as readers know it: `8/255`."""
    return str(formats.setting(value)) if isinstance(value, float) else json.dumps(value)
