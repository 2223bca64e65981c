"""`bench list` and `bench describe`: what is registered, from the registry and the presets alone."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from bench.api import ChangesRecipe, FitsOnce, SeesTestImages, TrainsDifferently
from bench.errors import UserError, unknown
from bench.formats import counted
from bench.registry import BY_KIND, Entry, Registry, load_plugin
from bench.select import presets, tasks
from bench.select.docstrings import meanings, read_docstring
from bench.select.spec import written

_OPTIONS = {kind: f"--{kind}" for kind in ("attacks", "defenses", "victims")}
_OPTIONS |= {"datasets": "--dataset", "executors": "--executor"}
_CHAINS = {
    "attacks": "em+ops (CIFAR-10-S); each part is crafted from the clean images",
    "defenses": "iss-gray+jpeg:quality=30; each part purifies what the one before it made",
}


def print_list(kind: str, plugins: tuple[Path, ...]) -> None:
    """Prints every component of a kind (or every preset or task) with one line."""
    for plugin in plugins:
        load_plugin(plugin)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    if kind == "presets":
        for name in presets.names():
            marks = ["unvalidated"] if name in presets.unvalidated() else []
            if own := presets.read(name).get("datasets"):
                marks.append(f"other parameters on {', '.join(own)}")
            table.add_row(name, presets.summary(name) + (f" ({'; '.join(marks)})" if marks else ""))
    elif kind == "tasks":
        for name in tasks.names():
            table.add_row(name, tasks.summary(name))
    else:
        for name, entry in BY_KIND[kind].items():
            family = f" (family {entry.family})" if entry.family else ""
            traits = BY_KIND[kind].traits(name)
            table.add_row(name, entry.summary + family + (f" ({', '.join(traits.words)})" if traits else ""))
    console = Console(highlight=False, markup=False)
    console.print(table)
    for problem in BY_KIND[kind].broken.values() if kind in BY_KIND else ():
        console.print(f"missing: {problem}", style="red")
    if kind in _CHAINS:
        console.print(f"Chains: {_CHAINS[kind]}.")
    if kind == "attacks":
        console.print("Words in brackets select all such attacks: --attacks class-wise")
    if kind in BY_KIND and (words := _words_for_several(BY_KIND[kind])):
        console.print(f"Words for several: {'; '.join(words)}")
    if kind == "victims":
        console.print("Every timm model name is a victim too: resnet18, resnet50, densenet121, mobilenetv2_100, ...")
    if kind in ("attacks", "defenses", "victims"):
        needy = [f"{name} ({', '.join(names)})" for name, entry in BY_KIND[kind].items() if (names := entry.needed)]
        console.print(f"`all` and globs leave out what needs a parameter: {', '.join(needy)}")
    console.print("`bench describe NAME` shows paper, parameters, cost and an example.")


def _words_for_several(registry: Registry[Any]) -> list[str]:
    """Families and sweeps with their members; the words of traits stand at each component."""
    traits = {word for name in registry if (its := registry.traits(name)) for word in its.words}
    return [f"{word} = {', '.join(its)}" for word, its in registry.groups().items() if word not in traits]


def print_description(name: str, plugins: tuple[Path, ...]) -> None:
    """Prints what a component, a preset or a task is: paper, knowledge it uses, parameters, cost, an example.

    Of a word that selects several components, prints those.

    Raises:
        UserError: for a name that nothing has.
    """
    for plugin in plugins:
        load_plugin(plugin)
    console = Console(highlight=False, markup=False)
    found = [(kind, registry[name]) for kind, registry in BY_KIND.items() if name in registry]
    if name in tasks.names():
        console.print((tasks.FOLDER / f"{name}.toml").read_text(encoding="utf-8").rstrip())
        return
    groups = {kind: group for kind, registry in BY_KIND.items() if (group := registry.groups().get(name))}
    for kind, members in groups.items():
        console.print(f"{name}: word for {counted(len(members), kind[:-1])}", style="bold")
        console.print(f"selects: {', '.join(members)}")
        console.print(f"example: {_command(kind, name)}", soft_wrap=True)
    if not found and not groups and name not in presets.names():
        found = [("victims", _timm_entry(name))]
    for kind, entry in found:
        _describe(console, card(kind, name, entry))
    if name in presets.names():
        _describe_preset(console, name)


def _timm_entry(name: str) -> Entry[Any]:
    try:
        return BY_KIND["victims"].find(name)[0]
    except UserError:
        names = [*presets.names(), *tasks.names()]
        names += [known for registry in BY_KIND.values() for known in (*registry, *registry.groups())]
        broken = [problem for registry in BY_KIND.values() for problem in registry.broken.values()]
        raise unknown("component", name, names, " ".join(["`bench list KIND` lists them.", *broken])) from None


@dataclass(frozen=True)
class Parameter:
    """A parameter in words; `default` is `(required)` where there is none, `presets` holds their values."""

    name: str
    default: str
    type: str
    meaning: str
    presets: str


@dataclass(frozen=True)
class Card:
    """A component in words, from registry and presets: for `bench describe` and the documentation."""

    name: str
    kind: str
    paragraphs: Sequence[str]
    facts: Sequence[tuple[str, str]]
    example: str
    parameters: Sequence[Parameter]


def card(kind: str, name: str, entry: Entry[Any]) -> Card:
    """The card of a component of a kind (`defenses`, ...) under the name it was asked for."""
    known, hints = meanings(entry.cls), typing.get_type_hints(entry.cls)
    parameters = [
        Parameter(
            parameter,
            "(required)" if default is dataclasses.MISSING else written(default) or repr(""),
            _type(hints[parameter]),
            known.get(parameter, "not described"),
            _in_presets(kind, {name, entry.name}, parameter),
        )
        for parameter, default in entry.parameters.items()
    ]
    paragraphs = read_docstring(entry.cls.__doc__ or "")[0]
    return Card(name, kind, paragraphs, list(_facts(kind, entry)), _example(kind, name, entry), parameters)


def _describe(console: Console, card: Card) -> None:
    console.print(f"{card.name}: {card.kind[:-1]}", style="bold")
    for paragraph in card.paragraphs:
        console.print(Padding(paragraph, (0, 0, 1, 0)))
    for label, value in card.facts:
        console.print(f"{label}: {value}")
    console.print(f"example: {card.example}", soft_wrap=True)
    if not card.parameters:
        console.print("takes no parameters")
        return
    console.print("\nparameters", style="bold")
    for parameter in card.parameters:
        equals = "= " * (parameter.default != "(required)")
        console.print(f"  {parameter.name} {equals}{parameter.default}  [{parameter.type}]", style="cyan")
        console.print(Padding(parameter.meaning, (0, 0, 0, 6)))
        if parameter.presets:
            console.print(Padding(f"in presets: {parameter.presets}", (0, 0, 0, 6)), style="dim")


def _facts(kind: str, entry: Entry[Any]) -> Iterator[tuple[str, str]]:
    if kind in ("attacks", "defenses", "victims") and (names := entry.needed):
        yield "left out of `all` and of globs", f"it needs a value for {' and '.join(names)}"
    if entry.source:
        arxiv = re.search(r"arXiv:(\d{4}\.\d{4,5})", entry.source)
        yield "paper", entry.source + (f" (https://arxiv.org/abs/{arxiv[1]})" if arxiv else "")
    if entry.family:
        yield "family", f"{entry.family}; this name selects all its members"
    if traits := BY_KIND[kind].traits(entry.name):
        yield "kind", ", ".join(traits.words) + f"; each word selects all such {kind}" * (not entry.needed)
        if traits.surrogate is not None:  # otherwise it is not known
            yield "designed against", traits.against or "plain training"
    if kind == "defenses":
        optional = entry.parameters.get("test_view") is False
        acts = {
            "before training (purifies)": hasattr(entry.cls, "purify"),
            "during training (own loss)": issubclass(entry.cls, TrainsDifferently),
            "on the recipe": issubclass(entry.cls, ChangesRecipe),
            f"on test images{' (with test_view=true)' * optional}": issubclass(entry.cls, SeesTestImages),
        }
        yield "acts", ", ".join(label for label, does in acts.items() if does) or "nowhere"
    if kind == "victims" and issubclass(entry.cls, FitsOnce):
        yield "trained", "no: fitted once, without recipe; defenses that change the training are refused"
    if kind in ("attacks", "defenses"):
        yield "uses", ", ".join(entry.uses) or "only the training set it is given"
    if kind in ("attacks", "defenses"):
        yield "random", "no: the seed does not matter" if entry.deterministic else "yes: by the seed"


def _example(kind: str, name: str, entry: Entry[Any]) -> str:
    names = [key for key in entry.needed if key != "model"]
    bare = names == [entry.positional]
    selection = ":".join([name, *(key.upper() if bare else f"{key}={key.upper()}" for key in names)])
    return _command(kind, selection)


def _command(kind: str, selection: str) -> str:
    """A run with a selection of a kind."""
    others = {"attacks": "--defenses iss", "defenses": "--attacks lsp,ops"}.get(kind, "--attacks lsp --defenses iss")
    return f"bench run {_OPTIONS[kind]} {selection} {others}"


def _type(hint: Any) -> str:
    """`int`, `float or none`, `linf | l2`."""
    if typing.get_origin(hint) is typing.Literal:
        return " | ".join(map(str, typing.get_args(hint)))
    parts = [part for part in typing.get_args(hint) if part is not type(None)]
    if parts and type(None) in typing.get_args(hint):
        return " or ".join([*(_type(part) for part in parts), "none"])
    return {"str": "text", "bool": "true | false"}.get(
        getattr(hint, "__name__", ""), getattr(hint, "__name__", str(hint))
    )


def _in_presets(kind: str, names: set[str], parameter: str) -> str:
    found = []
    for preset in presets.names():
        raw = presets.read(preset)
        tables = {preset: raw.get("parameters", {})}
        tables |= {f"{preset} on {data}": table["parameters"] for data, table in raw.get("datasets", {}).items()}
        for label, table in tables.items():
            of_kind = table.get(kind, {})
            for name in ("*", *sorted(names)):
                if parameter in of_kind.get(name, {}):
                    found.append(f"{label}: {written(of_kind[name][parameter])}")
    return ", ".join(dict.fromkeys(found))


def _describe_preset(console: Console, name: str) -> None:
    """Prints the selections of a preset and its changes of defaults, on all data sets and on single ones."""
    raw = presets.read(name)
    mark = " (unvalidated: nobody has compared its accuracies with those of `paper`)" if not raw["validated"] else ""
    console.print(f"{name}: preset{mark}", style="bold")
    console.print(presets.summary(name))
    for key in ("dataset", "attacks", "defenses", "victims", "seeds"):
        if key in raw:
            console.print(f"{key}: {raw[key]}")
    console.print("\nparameters that differ from the components' defaults", style="bold")
    for dataset, lines in preset_changes(name):
        if dataset:
            console.print(f"on {dataset}")
        for line in lines:
            console.print(Padding(line, (0, 0, 0, 2)))


def preset_changes(name: str) -> list[tuple[str, list[str]]]:
    """Changes that a preset makes in the defaults of components: on all data sets (""), and then on single ones."""
    raw = presets.read(name)
    tables = {"": raw.get("parameters", {})}
    tables |= {dataset: settings["parameters"] for dataset, settings in raw.get("datasets", {}).items()}
    return [(dataset, _changes(table)) for dataset, table in tables.items()]


def _changes(tables: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    return [
        f"{component if component != '*' else f'all {kind}'}: "
        + ", ".join(f"{k}={written(v)}" for k, v in values.items())
        for kind, components in tables.items()
        for component, values in components.items()
    ]
