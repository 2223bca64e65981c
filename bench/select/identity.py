"""The facts of a component that decide its results: they are part of a key, and a job compares them with its plan."""

from __future__ import annotations

from typing import Any

from bench.registry.source import source_digest
from bench.select.spec import Selected


def identity(selected: Selected) -> dict[str, Any]:
    """Facts that decide the result of a component, of a chain's parts, of others it names."""
    if selected.parts:
        parts = [identity(part) for part in selected.parts]
        return {"name": selected.entry.name, "parameters": selected.parameters, "parts": parts}
    return {
        "name": selected.entry.name,
        "parameters": selected.parameters,
        "source": source_digest(selected.entry.cls.__module__),
        "content": selected.content,
        **({"others": {key: identity(other) for key, other in selected.others.items()}} if selected.others else {}),
    }
