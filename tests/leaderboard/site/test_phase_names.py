import re
from pathlib import Path

import pytest

from leaderboard.site.phase_names import PHASES, phase_in_words, when

ROOT = Path(__file__).parents[3]
NAMED = re.compile(r"""phase(?:\(|=|: str = )"([^"]+)\"""")
FOLDERS = ("attacks", "defenses", "victims", "bench/api", "bench/training", "bench/stages")


def test_every_phase_of_the_repository_has_words() -> None:
    sources = [path.read_text(encoding="utf-8") for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    assert {name for source in sources for name in NAMED.findall(source)} == PHASES.keys() - {"warm"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("change_recipe", "making the recipe"),
        ("em.noise", "making the noise (em)"),
        ("my_plugin.own_phase", "own phase (my_plugin)"),
        ("own_phase", "own phase"),
    ],
)
def test_phases_are_words(name: str, words: str) -> None:
    assert phase_in_words(name) == words


def test_phases_stand_in_the_order_in_which_they_begin() -> None:
    names = ["evaluate", "own", "ops.search", "train", "warm", "change_recipe"]
    assert sorted(names, key=when) == ["warm", "change_recipe", "train", "evaluate", "own", "ops.search"]
