"""docs/results.md holds exactly the columns, scores and flags that there are, in order, with their meaning."""

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from leaderboard.tables.columns import BOARD_COLUMNS
from leaderboard.tables.shown import SHOWN, View

PAGE = Path(__file__).parents[3] / "docs" / "results.md"


def test_the_tables_of_the_document_are_the_present_ones() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text.count("<!-- table: ") == 7
    assert _columns_module().render(text) == text, "run python docs/columns.py"


def test_a_documented_column_has_its_meaning() -> None:
    table = PAGE.read_text(encoding="utf-8").split("<!-- table: leaderboard.csv -->")[1].split("<!-- end -->")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(BOARD_COLUMNS)
    assert f"| `worst_attack` | {BOARD_COLUMNS['worst_attack'].meaning} |\n" in table


def _columns_module() -> ModuleType:
    spec = spec_from_file_location("columns_of_the_document", PAGE.with_name("columns.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_document_says_which_columns_the_page_hides() -> None:
    table = PAGE.read_text(encoding="utf-8").split("<!-- table: shown -->")[1].split("<!-- end -->")[0]
    rows = {
        cells[1]: cells for cells in (line.strip("| ").split(" | ") for line in table.splitlines() if " | " in line)
    }
    assert len(SHOWN) > 15
    for column in SHOWN:
        heading, _, _, views = rows[f"`{column.name}`"]
        assert heading == column.title
        assert views.split(", ")[0] == next(view for view in View if view in column.views), column.name
