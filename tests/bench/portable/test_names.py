"""Names of components in cells, and the selections in their keys."""

import pytest

from bench.plan.describe import describe
from bench.portable.names import under_its_name
from bench.registry import BY_KIND
from bench.select.spec import select


@pytest.mark.parametrize(
    ("kind", "text"),
    [("victims", "resnet18:epochs=3"), ("victims", "linear"), ("defenses", "iss-gray+jpeg:quality=30")],
)
def test_the_selection_in_a_key_gives_the_name_in_the_cell(kind, text):
    (selected,) = select(BY_KIND[kind], text)
    (again,) = select(BY_KIND[kind], under_its_name(kind, describe(selected), selected.full_text))
    assert (again.name, again.text, again.full_text) == (selected.name, selected.text, selected.full_text)
