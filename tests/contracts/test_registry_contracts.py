"""Every registered attack, defense and victim keeps the contracts; a new one is tested by existing."""

import pytest

from bench.check.component import quick_defaults, tiny
from bench.check.contracts import CONTRACTS, checks_of
from bench.registry import BY_KIND
from bench.select.spec import select

WRITTEN = {
    "adaptive": 'adaptive:base="em:max_rounds=1:steps=1":through=iss-gray',
    "clean-mix": "clean-mix:images=4",
}
"""Components that need a parameter."""
ELSEWHERE = {"from-file", "avatar", "pretrained", "timm"}
"""The first three need a file, which their own tests write; `timm` stands for the models of that library."""
COMPONENTS = [
    (kind, selected)
    for kind in CONTRACTS
    for name, entry in BY_KIND[kind].items()
    if name not in ELSEWHERE
    for text in [WRITTEN.get(name, name), *([f"{name}:test_view=true"] if "test_view" in entry.parameters else [])]
    for selected in select(BY_KIND[kind], text, quick_defaults(kind))
]
CASES = [
    pytest.param(selected, check, id=f"{selected.text}-{check.__name__}")
    for kind, selected in COMPONENTS
    for check in checks_of(kind, selected)
    # Starts processes: once for each class, with its view if it has one.
    if check.__name__ != "keeps_nothing_between_stages" or getattr(selected.component, "test_view", True)
]


@pytest.mark.parametrize(("selected", "check"), CASES)
def test_contract(selected, check):
    check(selected, tiny())


@pytest.mark.parametrize("contract", [c for contracts in CONTRACTS.values() for c in contracts], ids=lambda c: c.name)
def test_every_contract_applies_to_a_built_in(contract):
    assert any(contract in CONTRACTS[kind] and contract.applies(selected) for kind, selected in COMPONENTS)


@pytest.mark.parametrize("kind", list(BY_KIND))
def test_every_file_of_components_can_be_imported(kind):
    assert not BY_KIND[kind].broken


@pytest.mark.parametrize("kind", list(BY_KIND))
def test_every_component_is_described(kind):
    for name, entry in BY_KIND[kind].items():
        assert entry.summary, name
        doc = entry.cls.__doc__ + "".join(base.__doc__ or "" for base in entry.cls.__mro__[1:-1])
        for parameter in entry.parameters:
            assert f"{parameter}:" in doc, f"{name}: parameter {parameter} is not documented"
