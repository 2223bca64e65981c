"""What a plug-in prints and warns of: in a file, counted, never in the display."""

import ctypes
import functools
import io
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from bench.stages import capture
from bench.stages.capture import captured, past_the_logs


def test_prints_go_to_the_file_and_not_to_the_terminal(tmp_path, capfd):
    with captured(tmp_path / "logs" / "a.txt"):
        print("to standard output")
        print("to standard error", file=sys.stderr)
    print("after")
    assert (tmp_path / "logs" / "a.txt").read_text() == "to standard output\nto standard error\n"
    assert capfd.readouterr() == ("after\n", "")


def test_what_libraries_and_processes_write_past_python_goes_to_the_file_in_order(tmp_path, capfd):
    path = tmp_path / "logs" / "a.txt"
    library = ctypes.CDLL(None)
    library.puts(b"of C, before")
    descriptors = len(os.listdir("/proc/self/fd"))
    with past_the_logs() as display, captured(path):
        os.write(1, b"to descriptor 1\n")
        library.puts(b"of C, which waits in its own buffer")
        library.fflush(None)
        print("of Python")
        subprocess.run(["sh", "-c", "echo of a process; echo its error >&2"], check=True)
        print("progress", file=display, flush=True)
        library.puts(b"of C, at the end")
    os.write(2, b"after\n")
    assert path.read_text().splitlines() == [
        "to descriptor 1",
        "of C, which waits in its own buffer",
        "of Python",
        "of a process",
        "its error",
        "of C, at the end",
    ]
    assert capfd.readouterr() == ("of C, before\n", "progress\nafter\n")
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_an_interrupt_gives_the_descriptors_back(tmp_path, capfd):
    with pytest.raises(KeyboardInterrupt), captured(tmp_path / "a.txt"):
        raise KeyboardInterrupt
    os.write(1, b"after\n")
    assert capfd.readouterr() == ("after\n", "")
    assert not (tmp_path / "a.txt").exists()


def test_a_closed_descriptor_is_no_error(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from bench.stages.capture import captured, past_the_logs\n"
        "os.close(2)\nwith past_the_logs(), captured(Path('a.txt')): print('captured')\nprint('after')"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True)
    assert ended.stdout == "after\n"
    assert (tmp_path / "a.txt").read_text() == "captured\n"


def test_silence_leaves_no_file_and_removes_an_old_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("of an earlier run")
    with captured(path) as warned:
        print(end="")
    assert not path.exists()
    assert not warned


def test_a_flood_of_warnings_is_one_line_with_its_count(tmp_path, capfd):
    path = tmp_path / "a.txt"
    with captured(path) as warned:
        for _ in range(2000):
            warnings.warn("the same again", stacklevel=1)
        warnings.warn("another", RuntimeWarning, stacklevel=1)
    (first, times), (second, once) = warned.items()
    assert first.startswith("UserWarning: the same again (test_capture.py:")
    assert second.startswith("RuntimeWarning: another")
    assert (times, once) == (2000, 1)
    assert len(path.read_text().splitlines()) == 2
    assert capfd.readouterr() == ("", "")


def test_a_flood_of_numbered_warnings_is_a_few_lines(tmp_path):
    with captured(tmp_path / "a.txt") as warned:
        for step in range(2000):
            warnings.warn(f"step {step} is odd", stacklevel=1)
    assert len(warned) == 6
    (text, times) = list(warned.items())[-1]
    assert text.startswith("UserWarning: other warnings of the same line (test_capture.py:")
    assert times == 1995


def test_a_flood_of_prints_does_not_fill_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(capture, "_MOST_CHARACTERS", 100)
    path = tmp_path / "a.txt"
    with captured(path):
        for _ in range(50):
            print("0123456789")
    text = path.read_text()
    assert text.startswith("0123456789\n")
    assert text.endswith("[450 more characters were left out]\n")
    with captured(path):
        os.write(1, 50 * b"0123456789\n")
    assert path.read_text().endswith("0\n[450 more characters were left out]\n")


def test_what_was_printed_before_an_error_is_kept(tmp_path):
    path = tmp_path / "a.txt"
    try:
        with captured(path):
            print("almost there")
            raise RuntimeError
    except RuntimeError:
        pass
    assert path.read_text() == "almost there\n"
    assert sys.stdout is not None


def test_a_stream_that_is_kept_writes_to_the_log_of_the_stage_that_runs(tmp_path, capfd):
    @functools.cache
    def out():
        return sys.stdout

    logger = logging.Logger("of a plug-in")
    with captured(tmp_path / "a.txt"):
        logger.addHandler(logging.StreamHandler())
        print("first", file=out(), flush=True)
        out().close()
    print("between two stages", file=out(), flush=True)
    logger.warning("between two stages")
    with captured(tmp_path / "b.txt"):
        print("second", file=out(), flush=True)
        logger.warning("by the logger")
    assert (tmp_path / "a.txt").read_text() == "first\n"
    assert (tmp_path / "b.txt").read_text() == "second\nby the logger\n"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("method", ["write", "flush"])
def test_a_log_on_a_full_disk_is_dropped_with_a_warning(tmp_path, monkeypatch, method):
    def refuse(*args):
        raise OSError(28, "No space left on device")

    def full(path, *args, **kwargs):
        file = io.StringIO()
        setattr(file, method, refuse)
        return file

    monkeypatch.setattr(Path, "open", full)
    path = tmp_path / "a.txt"
    with captured(path) as warned:
        print("something", flush=True)
        print("more")
        warnings.warn("of the plug-in", stacklevel=1)
    assert f"the log {path} is not complete: No space left on device" in warned
    assert any("of the plug-in" in text for text in warned)


def test_an_old_log_that_cannot_be_removed_is_a_warning(tmp_path):
    path = tmp_path / "a.txt"
    path.mkdir()
    with captured(path) as warned:
        print("something")
    assert [text for text in warned if str(path) in text]
