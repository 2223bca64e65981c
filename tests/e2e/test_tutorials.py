"""The documents show what works: marked blocks run, every command line parses, and every name in it exists."""

import functools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli.main import cli
from bench.errors import UserError
from bench.registry import BY_KIND
from bench.run.prepare import choose_executor
from bench.select.matrix import make_matrix
from bench.select.settings import Settings
from bench.select.sweep import swept

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r'(<!-- run -->\n)?```(\w+)(?: title="([^"]+)")?\n(.*?)```', re.DOTALL)
RUN = "<!-- run -->\n"
EXECUTED = [page for page in PAGES if RUN in page.read_text(encoding="utf-8")]


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _commands(shell: str) -> list[list[str]]:
    lines = shell.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def _all_commands() -> list[tuple[str, list[str]]]:
    """Every line that calls `bench`, in blocks and in code within the text, with its page."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found += [(_name(page), c) for _, kind, _, code in BLOCK.findall(text) if kind == "sh" for c in _commands(code)]
    return [(page, command[1:]) for page, command in found if command[0] == "bench"]


def _tiny(arguments: list[str]) -> list[str]:
    """The same command on a tiny set with a small victim; what the page itself says of data and preset stays."""
    if arguments[0] not in ("run", "plan", "sweep"):
        return arguments
    small = {"--dataset": "shapes:train=64:test=32", "--victims": "linear:epochs=2", "--threads": "1"}
    return [*arguments, *(word for option in small.items() if option[0] not in arguments for word in option)]


@pytest.mark.parametrize("page", EXECUTED, ids=_name)
def test_marked_blocks_run(bench, tmp_path, monkeypatch, page):
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    for _, _, title, code in blocks:
        if title:
            (tmp_path / title).write_text(code, encoding="utf-8")
    for marked, kind, _, code in blocks:
        if not marked:
            continue
        if kind == "python":
            _run_python(code, monkeypatch)
            continue
        for command in _commands(code):
            if command[0] == "bench":
                ended = bench(*_tiny(command[1:]))
                assert ended.code == 0, (command, ended.out, ended.err)
            else:
                assert command[0] == "python", command
                subprocess.run([sys.executable, *command[1:]], cwd=tmp_path, check=True)


def _run_python(code: str, monkeypatch) -> None:
    """Runs a block in which `run_matrix` is limited to a tiny set."""
    module = re.search(r"from ([\w.]+) import run_matrix", code)[1]
    tiny = {"dataset": "shapes:train=64:test=32", "victims": "linear:epochs=2", "threads": 1}
    whole = getattr(sys.modules[module], "run_matrix")  # noqa: B009
    monkeypatch.setattr(f"{module}.run_matrix", functools.partial(whole, **tiny))
    exec(compile(code, "block of the page", "exec"), {})


def test_pages_with_plug_ins_run_them():
    assert {
        "docs/start.md",
        "docs/tutorials/attack.md",
        "docs/tutorials/defense.md",
        "docs/tutorials/victim.md",
    } <= set(map(_name, EXECUTED))


@pytest.mark.parametrize(
    ("page", "arguments"), _all_commands(), ids=lambda v: v if isinstance(v, str) else " ".join(v)[:50]
)
def test_every_command_line_parses_and_names_what_exists(page, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    group = cli
    context = cli.make_context("bench", list(arguments), resilient_parsing=True)
    name, command, rest = group.resolve_command(context, list(arguments))
    with command.make_context(name, rest) as parsed:
        options = parsed.params
    if name in ("run", "plan") and not options["plugins"] and options["config"] is None:
        words = (options[key] for key in ("preset", "dataset", "attacks", "defenses", "victims", "seeds"))
        _check_names(Settings(*words))
    if name == "sweep":
        given = "attack" if options["attack"] else "defense"
        swept(BY_KIND[f"{given}s"], options[given], options["parameter"])
        _check_names(Settings(options["preset"], options["dataset"], options["attacks"], options["defenses"]))
    if name in ("run", "sweep"):
        choose_executor(options["executor"])


def _check_names(settings: Settings) -> None:
    """Selections that read a file may fail for want of the file, and for nothing else."""
    try:
        make_matrix([settings], ())
    except UserError as error:
        if not re.search(r"no such file|does not exist|not found", str(error)):
            raise
