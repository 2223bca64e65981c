"""From what a user writes to validated settings, and from settings to keys.

A selection is `name`, `name:parameter=value:...`, a glob, a family, `all`, or a comma list of these; the same words on
the command line, in TOML, in Python and in the CSV. A segment without `=` is the value of the component's first
positional parameter (`npz:PATH`). Numbers may be written as fractions (`eps=8/255`). Attacks and defenses are chained
with `+`, each part with its own parameters: `em:eps=16/255+ops:sparsity=2`, `iss-gray+jpeg:quality=30`. A value that
contains a separator is quoted (`npz:"a,b.npz"`): see `bench.select.grammar`.
"""

from __future__ import annotations

import functools
import gc
import hashlib
import json
import math
import re
import time
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bench.errors import UserError, of_component, unknown
from bench.registry import BY_KIND, Entry, Registry
from bench.select.chain import Chain
from bench.select.defense_chain import chain_of_defenses
from bench.select.grammar import QUOTE_PATHS, cut, existing_path, quote, split, unquote
from bench.select.values import parse_value
from bench.store.results import PAYS_ONCE_SECONDS

_ADDRESS = re.compile(r"[a-z][a-z0-9+]+://", re.IGNORECASE)

Defaults = Mapping[str, Mapping[str, Any]]  # component name or "*" -> parameters a preset sets
_CHAINS: dict[str, Callable[[Any], Any]] = {"attack": Chain, "defense": chain_of_defenses}
Layers = Defaults | Sequence[Defaults]  # the weakest first
_Tables = tuple[Layers, Layers]  # `defaults` and `preset`
_NOWHERE: Mapping[str, _Tables] = {}


@dataclass(frozen=True)
class Selected:
    """A component with all its parameters, validated.

    Attributes:
        name: what it is called on the board: the registered name, or the model's name of an open-ended entry.
        entry: where it was registered.
        component: the frozen dataclass instance.
        assumed: parameters that need not be said: the defaults, under a preset the preset's.
        parts: the attacks or defenses of a chain, in order; nothing else has any.
        others: the components that parameters name (`NamesOthers`), by parameter.
    """

    name: str
    entry: Entry[Any]
    component: Any
    assumed: Mapping[str, Any]
    parts: tuple[Selected, ...] = ()
    others: Mapping[str, Selected] = field(default_factory=dict)

    @functools.cached_property
    def parameters(self) -> dict[str, Any]:
        """All parameters as plain JSON values; those of a chain by part, `em.eps`, of others as `base.eps`."""
        if self.parts:
            return {f"{part.name}.{name}": value for part in self.parts for name, value in part.parameters.items()}
        own = {name: plain(getattr(self.component, name)) for name in self.entry.parameters}
        theirs = {f"{key}.{n}": value for key, other in self.others.items() for n, value in other.parameters.items()}
        return own | {key: other.name for key, other in self.others.items()} | theirs

    @property
    def acting(self) -> list[Selected]:
        """The registered components that do its work: itself or the parts of a chain, and those that they name."""
        inner = self.parts or self.others.values()
        return [*([] if self.parts else [self]), *(acting for one in inner for acting in one.acting)]

    @functools.cached_property
    def content(self) -> str | None:
        """Digest of the files the component reads, if it has any (`content_digest()`)."""
        read = getattr(self.component, "content_digest", None)
        return None if read is None else read()

    @functools.cached_property
    def text(self) -> str:
        """The shortest selection that gives this component: the name and what differs from what is assumed."""
        if self.parts:
            return "+".join(part.text for part in self.parts)
        assumed = {name: plain(value) for name, value in self.assumed.items()}
        changed = {n: v for n, v in self._own().items() if n in self.others or v != assumed[n]}
        changed |= {key: other.text for key, other in self.others.items()}
        return ":".join([self.name, *(f"{name}={_write(value)}" for name, value in changed.items())])

    @functools.cached_property
    def full_text(self) -> str:
        """The selection with every parameter written out, for another process."""
        if self.parts:
            return "+".join(part.full_text for part in self.parts)
        written_out = self._own() | {key: other.full_text for key, other in self.others.items()}
        return ":".join([self.entry.name, *(f"{n}={_write(v)}" for n, v in written_out.items())])

    def _own(self) -> dict[str, Any]:
        """Its own parameters, without those of others."""
        return {name: value for name, value in self.parameters.items() if name in self.entry.parameters}


def select(
    registry: Registry[Any],
    texts: str | Iterable[str],
    defaults: Layers = (),
    preset: Layers = (),
    elsewhere: Mapping[str, _Tables] = _NOWHERE,
) -> list[Selected]:
    """Everything a selection names, without repetition, in the order given.

    Args:
        registry: of the kind wanted.
        texts: a comma list, or several.
        defaults: parameters that selections of a name start from, the weakest table first; explicit ones win.
        preset: the part of `defaults` that the texts of the result leave unsaid.
        elsewhere: both, by kind, for components of other kinds that parameters name.

    Raises:
        UserError: for unknown names or parameters, wrong types and values out of range: all problems at once.
    """
    problems: list[str] = []
    found: dict[str, Selected] = {}
    for text in [texts] if isinstance(texts, str) else texts:
        if address := _ADDRESS.search(text):
            said = f"{address[0]} addresses are not read; download it, and give the path"
            problems.append(f"{registry.kind} {text!r}: {said}")
            continue
        trouble: list[str] = []
        for word in _words(text, trouble):
            try:
                for selected in _named(registry, word, (defaults, preset), elsewhere):
                    found.setdefault(selected.text, selected)
            except UserError as error:
                trouble.append(str(error))
        if trouble and (quoted := existing_path(text, _with_paths(registry))):
            trouble.append(f"if you meant the path, quote it: {quoted} (in a shell, with single quotes around it all)")
        problems += trouble
    if problems:
        raise UserError("\n".join(problems))
    if not found:
        raise UserError(f"no {registry.kind} selected; name at least one, or `all`: `bench list {registry.kind}s`")
    return list(found.values())


def _words(text: str, trouble: list[str]) -> list[str]:
    """The parts of a comma list; none, and what is wrong with it in `trouble`, if a quote is not closed."""
    try:
        return [word for part in cut(text, ",") if (word := part.strip())]
    except UserError as error:
        trouble.append(str(error))
        return []


def _with_paths(registry: Registry[Any]) -> list[str]:
    """The components whose first positional parameter is a path, as in `npz:PATH`."""
    return [name for name, entry in registry.items() if entry.positional == "path"]


def _named(registry: Registry[Any], word: str, own: _Tables, elsewhere: Mapping[str, _Tables]) -> list[Selected]:
    """Components that one word of a selection names, or one chain of them."""
    texts = split(word) if registry.chains else [word]
    if len(texts) == 1:
        return [resolve(registry, name, given, *own, elsewhere) for name, given in _expand(registry, word)]
    label = f"{registry.kind} {word!r}"
    if not all(text.strip() for text in texts):
        raise UserError(f"{label}: a '+' needs a name on both sides; write first+second")
    parts, problems = [], []
    for text in texts:
        try:
            found = _named(registry, text.strip(), own, elsewhere)
            if len(found) != 1:
                names = ", ".join(one.name for one in found)
                raise UserError(f"{label}: {text!r} is several ({names}); a chain takes one at each place")
            parts += found
        except UserError as error:
            problems.append(str(error))
    if problems and (keys := [key for part in parts for key in part.others]):
        problems.append(f'{label}: a chain that a parameter names stands in quotes: {keys[-1]}="first+second"')
    if problems:
        raise UserError("\n".join(problems))
    return [_chain(registry, label, tuple(parts))]


def _chain(registry: Registry[Any], label: str, parts: tuple[Selected, ...]) -> Selected:
    name = "+".join(part.name for part in parts)
    try:
        component = _CHAINS[registry.kind](tuple((part.name, part.component) for part in parts))
    except ValueError as error:
        raise UserError(f"{label}: {error}") from error
    entry: Entry[Any] = Entry(
        name,
        type(component),
        source=" + ".join(part.entry.source for part in parts if part.entry.source),
        deterministic=all(part.entry.deterministic for part in parts),
        uses=tuple(dict.fromkeys(use for part in parts for use in part.entry.uses)),
    )
    return Selected(name, entry, component, {}, parts)


def resolve(
    registry: Registry[Any],
    name: str,
    given: Mapping[str, Any],
    defaults: Layers = (),
    preset: Layers = (),
    elsewhere: Mapping[str, _Tables] = _NOWHERE,
) -> Selected:
    """One component from its name and parameters (strings are parsed by the parameter's type)."""
    entry, from_name = registry.find(name)
    label = f"{registry.kind} {name!r}"
    hints = typing.get_type_hints(entry.cls)
    parameters = entry.parameters
    values = {**_table(defaults, entry, name), **given, **from_name}
    problems = []
    parsed: dict[str, Any] = {}
    for key, value in values.items():
        if key not in parameters:
            takes = f"it takes: {', '.join(parameters)}" if parameters else "it takes none"
            if others := [other for other, its in registry.items() if key in its.parameters]:
                takes += f"; {key!r} is a parameter of {', '.join(others)}"
            if entry.positional == "path" and any(char in key for char in "/\\."):
                takes += f"; {QUOTE_PATHS}"
            suggestion = str(unknown("parameter", key, parameters)).partition("; ")[2].partition(" Choices")[0]
            problems.append(f"{label} has no parameter {key!r}; {suggestion + '; ' if suggestion else ''}{takes}")
            continue
        try:
            parsed[key] = parse_value(hints[key], value)
        except ValueError as error:
            problems.append(f"{label}: {key}={value!r}: {error}")
    missing = [k for k in entry.needed if k not in values]
    if missing and not problems:
        problems.append(f"{label} needs {', '.join(missing)}: write {name}:{missing[0]}=...")
    if problems:
        raise UserError("\n".join(problems))
    named = _others(entry, parsed, label, {**elsewhere, f"{registry.kind}s": (defaults, preset)})
    try:
        component, seconds = _constructed(entry, parsed)
        if named:
            component = component.with_others(**{key: other.component for key, other in named.items()})
    except (ValueError, TypeError) as error:
        raise UserError(of_component(label, entry.name, error)) from error
    if registry.charged and seconds > PAYS_ONCE_SECONDS:
        raise UserError(
            f"{label}: its construction does work: {seconds:.2f} s; put it in purify, so that it is measured"
        )
    assumed = {**parameters, **parse_table(preset, entry, name), **from_name}
    return Selected(next(iter(from_name.values()), entry.name), entry, component, assumed, others=named)


def _others(
    entry: Entry[Any], parsed: Mapping[str, Any], label: str, tables: Mapping[str, _Tables]
) -> dict[str, Selected]:
    """The components that parameters name, with the tables of their kinds."""
    found = {}
    for key, kind in getattr(entry.cls, "others", {}).items():
        chosen = select(BY_KIND[kind], parsed[key], *tables.get(kind, ((), ())))
        if len(chosen) != 1:
            names = ", ".join(one.name for one in chosen)
            raise UserError(f"{label}: {key}={parsed[key]!r} must name one component, and names several ({names})")
        found[key] = chosen[0]
    return found


def _constructed(entry: Entry[Any], parameters: Mapping[str, Any]) -> tuple[Any, float]:
    """A component and the processor seconds that it took; the garbage of others is not collected meanwhile."""
    collects = gc.isenabled()
    gc.disable()
    start = time.process_time()
    try:
        return entry.cls(**parameters), time.process_time() - start
    finally:
        if collects:
            gc.enable()


def _table(layers: Layers, entry: Entry[Any], name: str) -> dict[str, Any]:
    """Values that tables set for a name; in each those for all (if it has them), for its entry, for the name itself."""
    found: dict[str, Any] = {}
    for tables in [layers] if isinstance(layers, Mapping) else layers:
        found |= {key: value for key, value in tables.get("*", {}).items() if key in entry.parameters}
        for known_as in (entry.name, name):
            found |= tables.get(known_as, {})
    return found


def parse_table(layers: Layers, entry: Entry[Any], name: str) -> dict[str, Any]:
    """The values that tables set for a name, of the parameters' types.

    Raises:
        ValueError: for a value of another type.
    """
    hints = typing.get_type_hints(entry.cls)
    return {key: parse_value(hints[key], value) for key, value in _table(layers, entry, name).items()}


def _expand(registry: Registry[Any], word: str) -> list[tuple[str, dict[str, Any]]]:
    """Names that one word of a selection means, with the parameters written after it."""
    name, *segments = cut(word, ":")
    groups = registry.groups()
    if name == "all":
        names = [n for n in _matching(registry, "*") if n != "none"]
    elif name in registry:
        names = [name]
    elif name in groups:
        return [found for member in groups[name] for found in _expand(registry, ":".join([member, *segments]))]
    elif any(c in name for c in "*?["):
        names = _matching(registry, name)
        if not names:
            raise UserError(f"no {registry.kind} matches {name!r}; choices: {', '.join(registry)}")
    else:
        names = [name]
    return [(n, _parameters(registry, n, word, segments)) for n in names]


def _matching(registry: Registry[Any], pattern: str) -> list[str]:
    """The components that match a glob and need no parameters.

    Raises:
        UserError: if a component may be missing, because its file cannot be imported.
    """
    if registry.broken:
        raise UserError(f"not all {registry.kind}s are known: {' '.join(registry.broken.values())}")
    return [n for n in registry if fnmatchcase(n, pattern) and not registry[n].needed]


def _parameters(registry: Registry[Any], name: str, word: str, segments: Sequence[str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for segment in segments:
        if not segment.strip():
            raise UserError(
                f"{registry.kind} {word!r}: nothing stands behind a ':'; write {name}:parameter=value, or leave it out"
            )
        key, *values = cut(segment, "=", most=1)
        if not values and key.strip() in registry.find(name)[0].parameters:
            raise UserError(f"{registry.kind} {word!r}: {key.strip()} has no value; write {name}:{key.strip()}=...")
        if not values:
            first = registry.find(name)[0].positional
            if first is None or first in given:
                hint = f"; {QUOTE_PATHS}" if first == "path" else ""
                if given and not hint:
                    last, value = [*given.items()][-1]
                    hint = f"; a value with a colon stands in quotes: {last}={quote(f'{value}:{segment}')}"
                raise UserError(f"{registry.kind} {word!r}: {segment!r} is not of the form parameter=value{hint}")
            key, values = first, [segment]
        if key in given:
            raise UserError(f"{registry.kind} {word!r} sets {key!r} twice")
        value = unquote(values[0])
        home = key == "path" and value.startswith(("~/", "~\\"))  # a shell expands it at the start of a word only
        given[key.strip()] = str(Path(value).expanduser()) if home else value
    return given


def written(value: Any) -> str:
    """A parameter as one would write it in a selection: `none`, `true`, and `8/255` where that is shorter."""
    if isinstance(value, float) and 0 < value < 1:
        levels = f"{value * 255:.6g}"
        if float(levels) / 255 == value and len(levels) + 4 < len(str(value)):
            return f"{levels}/255"
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _write(value: Any) -> str:
    text = written(value)
    return text if isinstance(value, float | int) else quote(text)


def plain(value: Any) -> Any:
    """A parameter as a JSON value (infinity as the string `inf`)."""
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


def canonical_json(value: Any) -> str:
    """The one text of a JSON value: sorted keys, no spaces, shortest floats."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """sha256 of the canonical JSON, hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
