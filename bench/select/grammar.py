"""The grammar of selections: which characters separate, and how a value that contains one of them is quoted.

`name:parameter=value` is split at `,` `:` `=` and `+`. A value in double quotes is taken as it is
(`npz:"C:/a,b=c.npz"`); a quote inside of quotes is written twice. Outside of quotes a backslash before a separator or
a quote takes that character as it is; before any other character it is itself (`C:\\data`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.errors import UserError

SEPARATORS = ",:=+"
_SPECIAL = SEPARATORS + '"'
_LINK = re.compile(r"\+(?!\d)(?=\s*[\w*?\[\]-]*\s*(?:[:+]|$))")
QUOTE_PATHS = 'a path that contains one of , : = + is quoted, as in npz:"C:/a,b.npz"'


def _read(text: str) -> Iterator[tuple[int, str, bool]]:
    """(position, character, whether it separates if it is a separator), without quotes and escapes."""
    quoted, position = False, 0
    while position < len(text):
        char, following = text[position], text[position + 1 : position + 2]
        if char == '"' and quoted and following == '"':
            yield position, char, False
            position += 2
        elif char == '"':
            quoted = not quoted
            position += 1
        elif char == "\\" and not quoted and following and following in _SPECIAL:
            yield position, following, False
            position += 2
        else:
            yield position, char, not quoted
            position += 1
    if quoted:
        raise UserError(f"selection {text!r}: a double quote is not closed; write it twice inside of quotes")


def separators(text: str, which: str) -> list[int]:
    """Positions of the characters in `which` that separate, in ascending order.

    Raises:
        UserError: if a quote is not closed.
    """
    return [position for position, char, separates in _read(text) if separates and char in which]


def split(word: str) -> list[str]:
    """The parts of a chain. A `+` that is quoted or begins no component's name is part of a value: `1e+2`."""
    links = [at for at in separators(word, "+") if _LINK.match(word, at)]
    return [word[start:end] for start, end in zip([0, *(at + 1 for at in links)], [*links, len(word)], strict=True)]


def cut(text: str, separator: str, most: int = -1) -> list[str]:
    """The parts between separators, still quoted; at most `most` cuts unless it is negative."""
    positions = separators(text, separator)
    ends = positions if most < 0 else positions[:most]
    starts = [0, *(position + 1 for position in ends)]
    return [text[start:end] for start, end in zip(starts, [*ends, len(text)], strict=True)]


def unquote(text: str) -> str:
    """Value of a quoted or escaped text."""
    return "".join(char for _, char, _ in _read(text.strip()))


def quote(value: str) -> str:
    """The value as it is written in a selection: in quotes if it would be split or changed otherwise."""
    plain = value == value.strip() and not value.endswith("\\") and not any(char in value for char in _SPECIAL)
    return value if plain else '"' + value.replace('"', '""') + '"'


def from_table(table: Mapping[str, Any]) -> str:
    """The selection of a table, as TOML and Python may give one: `{"name": "npz", "path": "a,b.npz"}`.

    Raises:
        UserError: without a name, or for a value that is no text, number or truth value.
    """
    name = table.get("name")
    if not isinstance(name, str) or not name:
        raise UserError(
            f'selection {dict(table)!r}: a table needs a name, for example {{ name = "npz", path = "..." }}'
        )
    parts = [name]
    for key, value in table.items():
        if not isinstance(value, str | int | float | Path | None):
            raise UserError(f"selection {name!r}: {key}={value!r} must be a text, a number or a truth value")
        if key != "name":
            parts.append(f"{key}={'none' if value is None else quote(str(value))}")
    return ":".join(parts)


def existing_path(text: str, names: list[str]) -> str:
    """The longest path in a selection that exists and would have to be quoted, as `name:"path"`; "" if there is none.

    Args:
        text: a selection that could not be read.
        names: of the components that take a path as their first parameter.
    """
    for name in names:
        start = text.find(f"{name}:") + len(name) + 1
        if start <= len(name):
            continue
        start += len("path=") if text[start:].startswith("path=") else 0
        ends = [len(text), *(at for at in range(len(text) - 1, start, -1) if text[at] in SEPARATORS)]
        for end in ends:
            path = text[start:end]
            if any(char in path for char in _SPECIAL) and _exists(path):
                return f"{name}:{quote(path)}"
    return ""


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long, or with a null character
        return False
