"""One parameter over several values: `quality=10..90:20` becomes selections of an ordinary matrix."""

from __future__ import annotations

import math
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from bench.errors import UserError, unknown
from bench.registry import BY_KIND, Registry
from bench.select.grammar import cut, quote, split, unquote
from bench.select.spec import select
from bench.select.values import parse_value

_WITHOUT_STEP = 5  # values of a range that names no step
_MOST_VALUES = 1_000


def swept(registry: Registry[Any], selection: str, parameter: str) -> list[str]:
    """The selections of a sweep, in the order of the values.

    Args:
        registry: of attacks or defenses.
        selection: one component, or a chain; it does not set the parameter.
        parameter: `NAME=VALUES`; VALUES is a comma list of numbers and of ranges `first..last:step`. A range without a
            step has five values. In a chain NAME may be `PART.NAME`, and must be if several parts have the parameter;
            `base.eps` is a parameter of the attack in `base=em`.

    Raises:
        UserError: for a selection of several components, an unknown or not numeric parameter, a value that is no
            number or is out of range, and fewer than two values.
    """
    label = f"--parameter {parameter!r}"
    name, separator, written = parameter.partition("=")
    name = name.strip()
    if not separator or not name:
        raise UserError(f"{label} is not of the form NAME=VALUES; for example quality=10,30,50 or quality=10..90:20")
    if len(cut(selection, ",")) > 1:
        raise UserError(f"a sweep takes one {registry.kind}, got {selection!r}; run it once for each")
    place = _place(registry, selection, name, label)
    values = list(dict.fromkeys(_values(written, label)))
    if not values:
        raise UserError(f"{label} has no value; a sweep takes at least 2")
    texts = [place.around(f"{place.part}:{place.name}={value}") for value in values]
    found = select(registry, texts[0])  # an unknown name or parameter is reported once, and not for every value
    if len(found) != 1:
        names = ", ".join(one.name for one in found)
        raise UserError(f"a sweep takes one {registry.kind}, and {selection!r} names several ({names}); name one")
    _check_values(place, values, label)
    count = len({one.text for one in select(registry, texts)})
    if count < 2:
        raise UserError(f"{label} has {count} value; a sweep takes at least 2")
    return texts


@dataclass(frozen=True)
class _Place:
    """The place of a swept parameter in a selection.

    Attributes:
        registry: of the component that has it.
        part: this component's selection.
        name: the parameter's, of this component.
        around: the whole selection, from another one of this component.
    """

    registry: Registry[Any]
    part: str
    name: str
    around: Callable[[str], str] = str


def _place(registry: Registry[Any], selection: str, name: str, label: str) -> _Place:
    """The place of a parameter that is named as `Selected.parameters` names it, or without the part of a chain."""
    parts = split(selection) if registry.chains else [selection]
    if len(parts) > 1:
        at, own = _part_with(registry, selection, parts, name, label)
        inner = _place(registry, parts[at], own, label)
        return replace(inner, around=lambda text: "+".join([*parts[:at], inner.around(text), *parts[at + 1 :]]))
    parameter, _, own = name.partition(".")
    if own and (kind := _named_kinds(registry, selection).get(parameter)):
        at, other = _value_of(registry, selection, parameter)
        inner = _place(BY_KIND[kind], other, own, label)
        segments = cut(selection, ":")

        def around(text: str) -> str:
            return ":".join([*segments[:at], f"{parameter}={quote(inner.around(text))}", *segments[at + 1 :]])

        return replace(inner, around=around)
    return _Place(registry, selection, name)


def _part_with(registry: Registry[Any], selection: str, parts: list[str], name: str, label: str) -> tuple[int, str]:
    """Position of the part of a chain that has a parameter, and the parameter's name in it."""
    names = [cut(part, ":")[0].strip() for part in parts]
    owner, _, own = name.partition(".")
    if own and owner in names:
        return names.index(owner), own
    owners = [one for one in names if one in registry and owner in registry[one].parameters]
    if len(owners) == 1:
        return names.index(owners[0]), name
    select(registry, selection)  # what is wrong with the chain itself is reported first
    raise UserError(f"{label}: {_which(registry, names, owners, name)}")


def _which(registry: Registry[Any], names: list[str], owners: list[str], parameter: str) -> str:
    """Answer to a parameter that several parts of a chain have, or none."""
    if owners:
        choices = ", ".join(f"{owner}.{parameter}" for owner in owners)
        return f"several {registry.kind}s of the chain have this parameter; choices: {choices}"
    known = [f"{name}.{own}" for name in names for own in registry[name].parameters]
    return str(unknown("parameter", parameter, known))


def _named_kinds(registry: Registry[Any], selection: str) -> Mapping[str, str]:
    """Parameters of a component that name another one, with its kind (`NamesOthers`)."""
    name = cut(selection, ":")[0].strip()
    kinds: Mapping[str, str] = getattr(registry[name].cls, "others", {}) if name in registry else {}
    return kinds


def _value_of(registry: Registry[Any], selection: str, parameter: str) -> tuple[int, str]:
    """Position of the segment that sets a parameter, and its value."""
    name, *segments = cut(selection, ":")
    for at, segment in enumerate(segments, start=1):
        key, *value = cut(segment, "=", most=1)
        if parameter == (key.strip() if value else registry[name.strip()].positional):
            return at, unquote((value or [segment])[0])
    select(registry, selection)
    raise UserError(f"{registry.kind} {selection!r}: {parameter} is not set; write {name}:{parameter}=NAME")


def _check_values(place: _Place, values: list[str], label: str) -> None:
    """Raises UserError unless the parameter is a number, and each value is one of its type."""
    name, component = place.name, cut(place.part, ":")[0].strip()
    entry, _ = place.registry.find(component)
    hint = typing.get_type_hints(entry.cls)[name]
    kinds = {hint, *typing.get_args(hint)}
    if not kinds & {int, float}:
        hints = typing.get_type_hints(entry.cls)
        numbers = [key for key in entry.parameters if {hints[key], *typing.get_args(hints[key])} & {int, float}]
        raise UserError(
            f"{label}: {name} of {component} is not a number, and a curve needs numbers; its numbers are: "
            f"{', '.join(numbers) or 'none'}"
        )
    problems = []
    for value in values:
        try:
            number = parse_value(hint, value)
        except ValueError as error:
            problems.append(f"{label}: {name}={value!r}: {error}")
            continue
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            problems.append(f"{label}: {value!r} is not a finite number")
    if problems:
        raise UserError("\n".join(problems))


def _values(text: str, label: str) -> Iterator[str]:
    """The values of a comma list as they are written; a range gives decimal numbers."""
    for word in filter(None, map(str.strip, text.split(","))):
        if ".." not in word:
            yield word
            continue
        low, _, rest = word.partition("..")
        high, has_step, between = rest.partition(":")
        try:
            first, last = Decimal(low), Decimal(high)
            step = Decimal(between) if has_step else (last - first) / (_WITHOUT_STEP - 1)
            if not all(number.is_finite() for number in (first, last, step)):
                raise InvalidOperation
        except InvalidOperation:
            raise UserError(
                f"{label}: {word!r} is not a range; write first..last or first..last:step with decimal numbers, and "
                "fractions as a list: 4/255,8/255"
            ) from None
        if not first < last or step <= 0:
            raise UserError(f"{label}: range {word!r} needs first < last and a step > 0")
        if (last - first) / step >= _MOST_VALUES:
            raise UserError(f"{label}: range {word!r} has more than {_MOST_VALUES} values; take a larger step")
        for index in range(int((last - first) / step) + 1):
            yield f"{(first + index * step).normalize():f}"
