"""Names of cells: what `cell.html` looks up."""

import json
from collections.abc import Callable
from dataclasses import replace

from bench.store.results import CellResult
from leaderboard.site.cell_names import NAMES, names_file
from leaderboard.tables.table import cells_frame

MakeCell = Callable[..., CellResult]


def test_a_name_leads_to_the_cell_on_the_board(make_cell: MakeCell) -> None:
    failed = make_cell("lsp", "dvae", status="failed")
    cells = [make_cell("lsp", "dvae"), failed, replace(make_cell("</script>", "none", seed=2), key="odd")]
    text = names_file(cells_frame(cells)).decode()
    assert text.startswith("addNames(")
    assert "<" not in text
    found = json.loads(text[len("addNames(") : -3])
    assert found["names"] == list(NAMES)
    named = {key: [found["texts"][number] for number in numbers] for key, *numbers in found["cells"]}
    assert failed.key not in named
    assert named[cells[0].key] == ["cifar10", "paper", "resnet18", "bfloat16", "lsp", "dvae", "0", "cifar10"]
    assert named["odd"] == ["cifar10", "paper", "resnet18", "bfloat16", "</script>", "none", "2", "cifar10"]
