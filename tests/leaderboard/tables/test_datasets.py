"""Names of data sets for readers."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.store.results import CellResult
from leaderboard.tables.datasets import data_names
from leaderboard.tables.table import cells_frame

MakeCell = Callable[..., CellResult]


@pytest.mark.parametrize(
    ("selections", "expected"),
    [
        (["npz:path=a.npz"], {"npz"}),
        (["npz:path=a.npz", "cifar10"], {"npz", "cifar10"}),
        (["npz:path=a.npz", "npz:path=b.npz", "svhn:clean=5"], {"npz:path=a.npz", "npz:path=b.npz", "svhn"}),
    ],
)
def test_the_selection_stands_where_two_sets_share_a_name(
    make_cell: MakeCell, selections: list[str], expected: set[str]
) -> None:
    frame = cells_frame([make_cell(dataset=selection) for selection in selections])
    assert set(data_names(frame)) == expected


def test_the_digest_tells_sets_of_one_selection_apart(make_cell: MakeCell) -> None:
    cell = make_cell()
    other = replace(cell, key="other", dataset=cell.dataset | {"digest": "0123456789abcdef"})
    names = data_names(cells_frame([cell, other]))
    assert set(names) == {"cifar10 (0123456789ab)", "cifar10 (digest-of-ci)"}
