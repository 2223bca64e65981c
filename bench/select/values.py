"""Parameters from what a user wrote: numbers, fractions, truth values and words, by the type that is declared."""

from __future__ import annotations

import math
import re
import typing
from typing import Any

from pydantic import TypeAdapter, ValidationError

_FRACTION = re.compile(r"\s*([-+]?\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)\s*")


def parse_value(hint: Any, value: Any) -> Any:
    """A parameter's value from what the user wrote.

    Raises:
        ValueError: says what the type takes.
    """
    kinds = {hint, *typing.get_args(hint)}
    if isinstance(value, str) and value.lower() in ("none", "null", "") and type(None) in kinds:
        return None
    if isinstance(value, str) and float in kinds and (fraction := _FRACTION.fullmatch(value)):
        if float(fraction[2]) == 0:
            raise ValueError("its denominator is 0")
        value = float(fraction[1]) / float(fraction[2])
    if isinstance(value, bool) and bool not in kinds and typing.get_origin(hint) is not typing.Literal:
        raise ValueError(f"a truth value is not {_type_name(hint)}")
    try:
        parsed = TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        raise ValueError(_what_is_taken(hint, value) or str(error.errors()[0]["msg"])) from error
    if isinstance(parsed, float) and math.isnan(parsed):
        raise ValueError("not a number")
    return parsed


def _what_is_taken(hint: Any, value: Any) -> str:
    """Sentence on what a parameter of this type must be, with the form that was meant; "" for an unusual type."""
    kinds = [hint] if typing.get_origin(hint) is typing.Literal else [*(typing.get_args(hint) or [hint])]
    none = " or none" if type(None) in kinds else ""
    for kind in kinds:
        if typing.get_origin(kind) is typing.Literal:
            return f"must be {' or '.join(map(repr, typing.get_args(kind)))}{none}"
    text = str(value).strip()
    if float in kinds:
        if re.fullmatch(r"[0-9.]+ ?%", text) and text.count(".") < 2:
            return f"must be a number{none}; write {float(text.rstrip(' %')) / 100:g}"
        return f"must be a number{none}, such as 0.5 or 8/255"
    if int in kinds:
        try:
            whole = float(text)
        except ValueError:
            whole = math.nan
        meant = f"; write {whole:.0f}" if abs(whole) < 1e15 and whole.is_integer() else ", such as 30"
        return f"must be a whole number{none}{meant}"
    return f"must be true or false{none}" if bool in kinds else ""


def _type_name(hint: Any) -> str:
    return getattr(hint, "__name__", str(hint))
