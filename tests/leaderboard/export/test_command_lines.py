import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.select.matrix import parse_seeds
from bench.store.results import CellResult
from leaderboard.export.command_lines import published_command, reproduce_command
from tests.leaderboard.publishing import publish

MakeCell = Callable[..., CellResult]


@pytest.mark.parametrize(
    ("command", "published"),
    [
        ("bench run --store /home/me/r --attacks lsp --out=/srv/x --data-root data", "bench run --attacks lsp"),
        ("bench run '/home/my files/matrix.toml' --plugin=/home/me/p.py", "bench run matrix.toml --plugin=p.py"),
        (
            "bench run --dataset npz:/home/me/a.npz:size=32 --attacks lsp+ar:coefficients=/x/ar.npy",
            "bench run --dataset npz:a.npz:size=32 --attacks lsp+ar:coefficients=ar.npy",
        ),
        ("bench run --attacks ar:eps=8/255 --threads 2", "bench run --attacks ar:eps=8/255 --threads 2"),
        ("bench run --store", "bench run"),
        ("bench run 'open", ""),
    ],
)
def test_folders_of_the_machine_are_left_out(command: str, published: str) -> None:
    assert published_command(command) == published


def test_nothing_published_names_a_folder(make_cell: MakeCell, tmp_path: Path) -> None:
    command = "bench run --store /home/me/results --plugin /home/me/mine.py --attacks lsp"
    cells = [replace(make_cell(a, d), provenance={"command": command}) for a in ("none", "lsp") for d in ("none", "d")]
    publish(cells, tmp_path / "site")
    texts = [
        path.read_bytes() for path in (tmp_path / "site").rglob("*") if path.is_file() and "assets" not in path.parts
    ]
    assert not any(b"/home/me" in text for text in texts)
    assert any(b"--plugin mine.py --attacks lsp" in text for text in texts)


def test_the_command_selects_this_cell(make_cell: MakeCell) -> None:
    cell = make_cell("lsp", "dvae:kld=3", seed=4, victim="a b; rm -rf")
    assert shlex.split(reproduce_command(cell)) == [
        *("bench", "run", "--preset", "paper", "--dataset", "cifar10", "--attacks", "lsp"),
        *("--defenses", "dvae:kld=3", "--victims", "a b; rm -rf", "--seeds", "4,", "--precision", "bfloat16"),
        *("--threads", "2"),
    ]


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_the_command_names_one_seed(make_cell: MakeCell, seed: int) -> None:
    words = shlex.split(reproduce_command(make_cell(seed=seed)))
    assert parse_seeds(words[words.index("--seeds") + 1]) == (seed,)


def test_the_command_repeats_how_it_was_run(make_cell: MakeCell) -> None:
    run = {"engine": "compile", "deterministic": True, "command": "bench run --plugin /x/a.py --plugin=b.py"}
    words = reproduce_command(replace(make_cell(), provenance=run))
    assert words.endswith("--seeds 1 --precision bfloat16 --engine compile --deterministic --plugin a.py --plugin b.py")
    eager = replace(make_cell(), provenance={"engine": "eager", "deterministic": False, "command": "bench run"})
    assert reproduce_command(eager).endswith("--seeds 1 --precision bfloat16")
    threads = {"threads": 3, "cuda": None, "command": "bench run --threads 1"}
    assert reproduce_command(replace(make_cell(), provenance=threads)).endswith(" --threads 1"), "as given"
    for changed, added in (({"command": ""}, " --threads 3"), ({"command": "", "cuda": "13.2"}, "")):
        ran = replace(make_cell(), provenance=threads | changed)
        assert reproduce_command(ran).endswith(f"--precision bfloat16{added}")
    for engine, added in (("auto", ""), ("eager", " --engine eager"), ("graph", " --engine graph")):
        on_gpu = replace(make_cell(), provenance={"engine": engine, "cuda": "13.2", "command": "bench run"})
        assert reproduce_command(on_gpu).endswith(f"--precision bfloat16{added}")
