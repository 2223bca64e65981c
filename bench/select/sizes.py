"""Sizes of data sets that are known without their files."""

from __future__ import annotations

from bench.registry import datasets
from bench.registry.source import of_this_repository
from bench.select.grammar import cut
from bench.select.spec import select


def known_sizes(spec: str) -> dict[str, object]:
    """Numbers of images and classes, and the shape, of a data set of this repository, by name; else none.

    Raises:
        UserError: if it has no such parameters.
        ValueError: for several data sets.
    """
    name, *_ = cut(spec, ":", most=1)
    entry = datasets.get(name)
    if entry is None or not hasattr(entry.cls, "sizes") or not of_this_repository(entry.cls.__module__):
        return {}
    (selected,) = select(datasets, spec)
    sizes = selected.component.sizes
    return {**sizes._asdict(), "shape": list(sizes.shape)}
