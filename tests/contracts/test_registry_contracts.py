"""Every registered attack, defense and victim keeps the contracts; a new one is tested by existing."""

import dataclasses

import pytest

from bench.check import quick_defaults, tiny
from bench.contracts import CHECKS
from bench.registry import BY_KIND
from bench.spec import select

CASES = [
    pytest.param(kind, name, check, id=f"{name}-{check.__name__}")
    for kind, checks in CHECKS.items()
    for name, entry in BY_KIND[kind].items()
    if dataclasses.MISSING not in entry.parameters.values()
    for check in checks
]


@pytest.mark.parametrize(("kind", "name", "check"), CASES)
def test_contract(kind, name, check):
    check(select(BY_KIND[kind], name, quick_defaults(kind))[0], tiny())


@pytest.mark.parametrize("kind", list(BY_KIND))
def test_every_component_is_described(kind):
    for name, entry in BY_KIND[kind].items():
        assert entry.summary, name
        doc = entry.cls.__doc__ + "".join(base.__doc__ or "" for base in entry.cls.__mro__[1:-1])
        for parameter in entry.parameters:
            assert f"{parameter}:" in doc, f"{name}: parameter {parameter} is not documented"
