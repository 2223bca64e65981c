"""Reads the docstrings of components (Google style): paragraphs, and the meaning of every attribute.

Regular expressions, because the package griffe reads no names that share a meaning (`low, high: borders`).
"""

from __future__ import annotations

import inspect
import re


def read_docstring(text: str) -> tuple[list[str], dict[str, str]]:
    """Paragraphs before the section `Attributes:`, and what that section says about each name."""
    head, _, section = inspect.cleandoc(text).partition("\nAttributes:\n")
    meanings: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if found := re.match(r" {4}(\w[\w, ]*)(?: \([^)]*\))?: (.*)", line):
            name, meaning = found.groups()
            meanings |= dict.fromkeys(re.split(r",\s*", name), meaning)
        elif line.startswith("     ") and name:
            meanings |= {part: f"{meanings[part]} {line.strip()}" for part in re.split(r",\s*", name)}
        elif line.strip():
            break
    paragraphs = [re.sub(r"\s+", " ", part).strip() for part in re.split(r"\n\s*\n", head)]
    return [part for part in paragraphs if part], meanings


def meanings(cls: type) -> dict[str, str]:
    """Meanings of a class's attributes, from its docstring and those of the classes it builds on; its own words win."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        found |= read_docstring(base.__doc__ or "")[1]
    return found
