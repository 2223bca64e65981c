"""Each cell is recorded once, and each table is built once."""

import json
from collections import Counter

import pytest

from bench.run import runner
from bench.select.spec import digest

from .conftest import TINY

FAILS = '''
from dataclasses import dataclass
from bench.registry import defenses


@defenses.register("fails-x")
@dataclass(frozen=True)
class Fails:
    """Fails."""

    def purify(self, train, ctx):
        raise ValueError("on purpose")
'''


@pytest.fixture
def calls(monkeypatch):
    from leaderboard.tables import table

    found = Counter()

    def count(module, name, key):
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given: found.update([key(given)]) or function(*given))

    count(runner, "cell_result", lambda given: f"{given[0].attack.name} {given[0].defense.name}")
    count(table, "cells_frame", lambda given: "cells_frame")
    count(table, "leaderboard_frame", lambda given: "leaderboard_frame")
    return found


def test_records_and_tables_of_a_run(bench, tmp_path, calls):
    (tmp_path / "fails.py").write_text(FAILS)
    words = ["run", "--attacks", "lsp", "--defenses", "iss-gray,fails-x", "--plugin", "fails.py", *TINY]
    once = {f"{attack} {defense}": 1 for attack in ("none", "lsp") for defense in ("none", "iss-gray", "fails-x")}
    for _ in range(2):  # the second time most of it is in the store
        assert bench(*words).code == 1
        assert calls == {**once, "cells_frame": 1, "leaderboard_frame": 1}
        calls.clear()
    cells = [json.loads(path.read_text()) for path in (tmp_path / "results" / "cells").glob("*.json")]
    assert [cell["key"] for cell in cells] == [digest(cell["preimage"])[:20] for cell in cells]
    failed = next(cell for cell in cells if cell["defense"]["name"] == "fails-x")
    assert failed["preimage"][0] == "demo"
    assert "fails-x" in failed["preimage"]
