"""Full disks, read-only stores, long paths, lost stores and lost processes: a line that says what to do."""

import errno
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from bench.datasets.decoding import cropped, decode
from bench.errors import of_the_machine
from bench.store import results
from bench.store.locks import owned

from .conftest import TINY

RUN = ["run", "--attacks", "ops", "--defenses", "iss-bdr", *TINY]


def no_traceback(ended):
    assert "Traceback" not in ended.out + ended.err
    assert ended.code == 2
    return ended.err


@pytest.mark.parametrize("part", ["cells", "plans", "leaderboard"])
def test_a_full_disk_is_named_and_nothing_is_lost(bench, tmp_path, monkeypatch, part):
    write, replace = Path.write_bytes, Path.replace

    def refuse(target):
        if part in str(target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    monkeypatch.setattr(Path, "write_bytes", lambda self, data: (refuse(self), write(self, data))[1])
    monkeypatch.setattr(Path, "replace", lambda self, target: (refuse(target), replace(self, target))[1])
    said = no_traceback(bench(*RUN))
    assert "No space left on device; free some disk space" in said
    assert "run the same command again" in said or "the cells are safe in the store" in said
    monkeypatch.setattr(Path, "write_bytes", write)
    monkeypatch.setattr(Path, "replace", replace)
    ended = bench(*RUN)
    assert ended.code == 0
    if part == "leaderboard":
        assert "computed now: nothing" in ended.out


def test_a_disk_that_fills_while_an_open_file_is_written_names_the_file(bench, tmp_path, monkeypatch):
    """The system then names none."""
    sync, calls = os.fsync, []

    def full_after(enough):
        def fsync(handle):
            calls.append(handle)
            if len(calls) > enough:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            sync(handle)

        calls.clear()
        monkeypatch.setattr(os, "fsync", fsync)

    full_after(0)
    assert "results/store.json: No space left on device; free some disk space" in no_traceback(bench(*RUN))
    full_after(1)
    assert "results/plans/" in no_traceback(bench(*RUN))
    full_after(1)
    ended = bench(*RUN)
    said = "data.safetensors: No space left on device; free some disk space"
    assert said in ended.err
    assert "results/cells/" in no_traceback(ended)
    assert not list((tmp_path / "results").rglob(".*")), "what could not be written is gone"


def test_room_for_mapped_images_is_taken_before_they_are_written(tmp_path, monkeypatch, make_context):
    """Else a full disk kills the process while a page is written: SIGBUS, without a word."""
    context = replace(make_context(), resident_bytes=0)
    images = context.empty_images((100, 3, 32, 32))
    (file,) = context.scratch.iterdir()
    assert file.stat().st_blocks * 512 >= images.numel(), "no hole is left to be filled later"

    def full(handle, start, size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*images-1.u8'"):
        context.empty_images((100, 3, 32, 32))
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    with pytest.raises(OSError, match=r"No space left on device: '.*prepared/x.*part'"):
        decode([tmp_path / "0.png"], 8, cropped, tmp_path / "prepared" / "x")
    assert not list((tmp_path / "prepared").iterdir())


def test_memory_that_runs_out_while_publishing_is_named(bench, monkeypatch):
    def exhausted(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr("leaderboard.publish.publish", exhausted)
    said = no_traceback(bench(*RUN))
    assert "out of memory" in said
    monkeypatch.undo()


LONG = "x" * 300


@pytest.mark.parametrize(
    "words",
    [
        ["--store", LONG],
        ["--out", LONG],
        ["--dataset", "cifar10", "--data-root", LONG],
        ["--dataset", f"npz:{LONG}.npz"],
        ["--dataset", f"folder:{LONG}"],
        ["--attacks", f"from-file:{LONG}.npz"],
        ["--plugin", f"{LONG}.py"],
        [f"{LONG}.toml"],
    ],
    ids=["store", "out", "data-root", "npz", "folder", "from-file", "plugin", "config"],
)
def test_a_path_component_of_300_characters(bench, words):
    assert "xxx" in no_traceback(bench(*RUN, *words))


@pytest.fixture
def as_reader(tmp_path):
    """`as_reader(...)` runs the command in a process that file permissions bind, also where the tests run as root."""
    bound = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]

    def call(*arguments):
        prefix = bound if os.geteuid() == 0 else []
        command = [*prefix, sys.executable, "-m", "bench", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    yield call
    for path in [tmp_path, *tmp_path.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)


def test_a_finished_matrix_is_published_from_a_read_only_store(bench, as_reader, tmp_path):
    assert bench(*RUN).code == 0
    store = tmp_path / "results"
    shutil.rmtree(store / "leaderboard")
    for path in [store, *store.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    ended = as_reader(*RUN, "--out", "elsewhere")
    assert ended.returncode == 0, ended.stderr
    assert "computed now: nothing" in ended.stdout
    assert (tmp_path / "elsewhere" / "index.html").is_file()
    for words, problem in (
        (RUN, "results is read-only and has all of this matrix: add --out ELSEWHERE to publish it, or"),
        (RUN, "`bench publish --store results --out ELSEWHERE`"),
        (["cache", "gc"], "read-only: nothing can be deleted"),
        ([*RUN, "--seeds", "2"], r"is read-only and lacks 4 of 14 artifacts"),
    ):
        ended = as_reader(*words)
        assert ended.returncode == 2, ended.stdout
        assert problem in ended.stderr
        assert "Traceback" not in ended.stderr
    assert "`bench publish --store results --out ELSEWHERE` publishes the cells it has" in ended.stderr
    ended = as_reader("publish", "--out", "another")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "another" / "index.html").is_file()


def test_a_store_that_is_deleted_during_a_run(bench, tmp_path, monkeypatch):
    from bench.run.executors.inline import execute

    def execute_and_delete(job, session, on_progress):
        report = execute(job, session, on_progress)
        if job.stage == "train":
            shutil.rmtree(tmp_path / "results" / "artifacts")
        return report

    monkeypatch.setattr("bench.run.executors.inline.execute", execute_and_delete)
    said = no_traceback(bench(*RUN))
    assert "is gone; was the store deleted during the run? Run the same command again" in said


def test_what_a_killed_run_left_is_removed_by_the_next_one(bench, tmp_path):
    assert bench(*RUN).code == 0
    left = tmp_path / "results" / "partial" / "0123"
    left.mkdir(parents=True)
    (left / "images-0.u8").write_bytes(b"half")
    halves = [tmp_path / "results" / folder / ".0123.json.x7" for folder in ("cells", "plans")]
    for half in halves:
        half.write_text("{")
    assert bench(*RUN).code == 0
    assert not any(path.exists() for path in (left, *halves))


def test_half_decoded_images_of_a_killed_run_are_removed_and_those_of_a_living_one_are_not(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    dead, living = tmp_path / "prepared" / "a.0123.part", tmp_path / "prepared" / "b.4567.part"
    dead.parent.mkdir()
    dead.write_bytes(b"half")
    with owned(living):
        decode([tmp_path / "0.png"], 8, cropped, tmp_path / "prepared" / "x")
    assert {path.name for path in dead.parent.iterdir()} == {"x", living.name}


def test_a_lost_process_is_named_in_one_line(bench, tmp_path):
    (tmp_path / "killed.py").write_text(
        "import os, signal\nfrom dataclasses import dataclass\nfrom bench.registry import defenses\n"
        '@defenses.register("kills-itself")\n@dataclass(frozen=True)\nclass Killed:\n    """Dies."""\n'
        "    def purify(self, train, ctx):\n        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = bench("run", "--attacks", "ops", "--defenses", "kills-itself", *TINY, "--plugin", "killed.py",
                  "--executor", "submitit:parallel=2")  # fmt: skip
    assert ended.code == 1
    cells = [json.loads(path.read_text()) for path in (tmp_path / "results" / "cells").glob("*.json")]
    errors = [cell["error"] for cell in cells if cell["error"]]
    assert len(errors) == 2
    for error in errors:
        assert error["kind"] == "ProcessLost"
        assert error["message"].startswith("the process ended without a result (signal 9: killed? out of memory?); its")
        assert Path(tmp_path / error["message"].rpartition("log: ")[2]).is_file()
    assert "pkl" not in ended.out + ended.err


def test_errors_of_the_program_keep_their_traceback():
    assert of_the_machine(FileNotFoundError(errno.ENOENT, "no such file")) == ""
    assert of_the_machine(ValueError("x")) == ""
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")
    assert of_the_machine(full).startswith(
        "the GPU is out of memory (CUDA out of memory. Tried to allocate 2.00 GiB); end other programs on it, "
    )


def test_a_half_written_json_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    results.write_json(path, {"old": 1})

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        results.write_json(path, {"new": 2})
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]
