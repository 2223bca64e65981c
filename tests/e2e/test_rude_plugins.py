"""Plug-ins that flood, print, exit or raise what no one catches: one cell fails or none; the display stays clean."""

import json
import logging

import pytest

from .conftest import TINY

RUDE = '''
import os, sys, warnings
from dataclasses import dataclass
from bench.registry import defenses


class Mine(BaseException):
    """Not an Exception."""


def rude(name):
    def decorate(purify):
        cls = type(name, (), {{"purify": purify, "__doc__": "Rude."}})
        cls.__module__ = __name__
        defenses.register(name + "-{n}")(dataclass(frozen=True)(cls))
        return purify
    return decorate


@rude("raises")
def raises(self, train, ctx):
    raise Mine("my own kind")


@rude("exits")
def exits(self, train, ctx):
    sys.exit(3)


@rude("fills")
def fills(self, train, ctx):
    raise OSError(28, "No space left on device", "/somewhere/big.bin")


@rude("starves")
def starves(self, train, ctx):
    raise MemoryError


@rude("warns")
def warns(self, train, ctx):
    for _ in range(5000):
        warnings.warn("the same warning again and again")
    return train


@rude("says-nothing")
def says_nothing(self, train, ctx):
    assert train is None


@rude("cannot-say")
def cannot_say(self, train, ctx):
    class Silent(Exception):
        def __str__(self):
            raise ValueError
    raise Silent


@rude("says-much")
def says_much(self, train, ctx):
    raise RuntimeError("first\\nsecond " + 9999 * "x")


@rude("goes-away")
def goes_away(self, train, ctx):
    import os
    os.chdir("/")
    return train


@rude("leaves")
def leaves(self, train, ctx):
    import torch
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    return train


@rude("prints")
def prints(self, train, ctx):
    for row in range(100):
        print("progress of my own", row)
    print("to standard error", file=sys.stderr)
    os.write(2, b"past Python\\n")
    return train


@rude("logs")
def logs(self, train, ctx):
    import logging
    logging.basicConfig()
    logging.getLogger("mine").warning("a line of my logger")
    return train


@rude("prints-and-fails")
def prints_and_fails(self, train, ctx):
    print("the last words")
    raise RuntimeError("then it fell")
'''


@pytest.fixture
def run(bench, tmp_path):
    """`run(name)` runs a matrix with one rude defense; returns how it ended and the defense's cells."""
    n = tmp_path.name.replace("_", "-").lower()
    (tmp_path / "rude.py").write_text(RUDE.format(n=n))

    def call(name):
        ended = bench("run", "--attacks", "ops", "--defenses", f"{name}-{n}", *TINY, "--plugin", "rude.py")
        cells = [json.loads(path.read_text()) for path in (tmp_path / "results" / "cells").glob("*.json")]
        assert len(cells) == 4
        undefended = [cell for cell in cells if cell["defense"]["name"] == "none"]
        assert [cell["status"] for cell in undefended] == ["done", "done"], "the rest of the matrix goes on"
        return ended, [cell for cell in cells if cell["defense"]["name"] != "none"]

    return call


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("raises", "Mine", "my own kind"),
        ("exits", "SystemExit", "3"),
        ("fills", "OSError", "/somewhere/big.bin: No space left on device; free some disk space"),
        ("starves", "MemoryError", "out of memory; close other programs, or use less data"),
        ("says-nothing", "AssertionError", "no message; raised in rude.py:49: assert train is None"),
        ("cannot-say", "Silent", "no message; raised in rude.py:57: raise Silent"),
    ],
)
def test_whatever_a_plug_in_raises_is_a_failed_cell(run, name, kind, message):
    ended, cells = run(name)
    assert ended.code == 1
    assert {(cell["status"], cell["error"]["kind"], cell["error"]["message"]) for cell in cells} == {
        ("failed", kind, message)
    }
    assert f"{kind} in purify: {message}" in ended.out


def test_a_long_message_is_a_line_of_the_display_and_whole_in_the_cell(run):
    ended, cells = run("says-much")
    assert ended.code == 1
    lines = [line for line in (ended.out + ended.err).splitlines() if "first second xx" in line]
    assert len(lines) == 3, "two jobs of the progress, one reason of two failed cells"
    assert all(len(line) < 800 for line in lines)
    assert cells[0]["error"]["message"].endswith(9999 * "x")


def test_a_plug_in_that_changes_the_folder_loses_nothing(run):
    ended, cells = run("goes-away")
    assert ended.code == 0
    assert [cell["status"] for cell in cells] == ["done", "done"]


def test_what_a_plug_in_sets_in_torch_is_put_back_and_named(run):
    ended, cells = run("leaves")
    assert ended.code == 0
    assert [cell["status"] for cell in cells] == ["done", "done"]
    assert "the harness put back: torch's default dtype, torch's gradient mode" in " ".join(ended.err.split())


def test_a_warning_is_shown_once_with_its_count(run):
    ended, cells = run("warns")
    assert ended.code == 0
    assert [cell["status"] for cell in cells] == ["done", "done"]
    lines = [line for line in ended.err.splitlines() if "the same warning" in line]
    assert len(lines) == 1
    assert lines[0].endswith("(5000 times)")
    assert "UserWarning" in lines[0]


def test_what_a_plug_in_prints_is_in_its_log_and_in_show(run, bench, tmp_path):
    ended, cells = run("prints")
    assert ended.code == 0
    assert "progress of my own" not in ended.out + ended.err
    assert "past Python" not in ended.out + ended.err
    shown = bench("show", cells[0]["key"])
    assert "purify printed 102 lines" in shown.out
    assert "progress of my own 99" in shown.out
    assert "to standard error" in shown.out
    assert "past Python" in shown.out
    assert "progress of my own 50" not in shown.out, "the end of it is enough"
    (path,) = {line.split(": ", 1)[1] for line in shown.out.splitlines() if "printed 102 lines" in line}
    assert "progress of my own 50" in (tmp_path / path).read_text()


def test_what_a_failing_plug_in_printed_is_shown_and_kept(run, bench, tmp_path):
    ended, cells = run("prints-and-fails")
    assert ended.code == 1
    assert "the last words" in bench("show", cells[0]["key"]).out
    bench("cache", "gc")
    assert "the last words" in bench("show", cells[0]["key"]).out
    (tmp_path / "results" / "logs" / "purify-of-nobody.txt").write_text("x")
    bench("cache", "gc")
    assert not (tmp_path / "results" / "logs" / "purify-of-nobody.txt").exists()


def test_a_logger_that_is_set_up_in_the_first_stage_logs_in_all(run, tmp_path):
    root, before = logging.getLogger(), logging.getLogger().handlers
    root.handlers = []  # pytest's own, which would make `basicConfig` do nothing
    try:
        ended, cells = run("logs")
    finally:
        root.handlers = before
    assert ended.code == 0
    assert [cell["status"] for cell in cells] == ["done", "done"]
    assert "my logger" not in ended.out + ended.err
    logs = [(tmp_path / "results" / "logs" / f"purify-{cell['artifacts']['purify'][:20]}.txt") for cell in cells]
    assert [log.read_text() for log in logs] == ["WARNING:mine:a line of my logger\n"] * 2


VICTIM = '''
from dataclasses import dataclass
from torch import nn
from bench.api import Recipe
from bench.registry import victims


@victims.register("broken-{n}")
@dataclass(frozen=True)
class Broken:
    """Broken."""

    recipe = Recipe(epochs=1)

    def build(self, info):
        raise RuntimeError("cannot be built")
'''


def test_a_victim_that_cannot_be_built_is_a_failed_cell_and_no_obstacle_of_the_plan(bench, tmp_path):
    n = tmp_path.name.replace("_", "-").lower()
    (tmp_path / "rude.py").write_text(VICTIM.format(n=n))
    words = ["--attacks", "ops", "--defenses", "none", *TINY, "--victims", f"broken-{n},linear:epochs=1"]
    planned = bench("plan", *words, "--plugin", "rude.py")
    assert planned.code == 0, planned.err
    assert f"cannot estimate train broken-{n} on none / none, seed 0: RuntimeError: cannot be built" in planned.out
    ended = bench("run", *words, "--plugin", "rude.py")
    assert ended.code == 1
    cells = [json.loads(path.read_text()) for path in (tmp_path / "results" / "cells").glob("*.json")]
    assert {(cell["victim"]["name"], cell["status"]) for cell in cells} == {
        ("linear", "done"),
        (f"broken-{n}", "failed"),
    }
