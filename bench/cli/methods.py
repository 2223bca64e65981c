"""The registered components in words, for the method page."""

from __future__ import annotations

from dataclasses import MISSING

from bench import formats
from bench.registry import attacks, defenses, victims
from bench.select.spec import plain
from leaderboard.site.methods import Method


def methods() -> list[Method]:
    """The registered components in words: the leaderboard itself never imports them, for they import torch."""
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
            inherited=tuple(base.__doc__ or "" for base in entry.cls.__mro__[1:-1]),
            parameters={
                parameter: "required" if default is MISSING else str(formats.setting(plain(default)))
                for parameter, default in entry.parameters.items()
            },
        )
        for registry in (attacks, defenses, victims)
        for name, entry in registry.items()
    ]
