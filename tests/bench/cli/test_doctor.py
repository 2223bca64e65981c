"""`bench doctor`: every check can find something, and the last line is `ready` or the next step."""

import time
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import psutil
import pytest
import torch

from bench.cli import doctor
from bench.cli.doctor import clock, data_sets, examine, folder, gpu, memory, packages, processor, store_health

Usage = namedtuple("Usage", "total used free")


def only(findings):
    (finding,) = findings
    return finding


def test_this_machine_is_ready(tmp_path, capsys):
    assert examine(tmp_path / "results", tmp_path / "data") == 0
    out = capsys.readouterr().out
    assert out.rstrip().endswith("ready")
    for part in ("packages", "CPU", "memory", "store", "data", "clock"):
        assert part in out


def test_a_problem_gives_the_next_step_and_exit_code_1(tmp_path, capsys):
    assert examine(Path("/proc/store"), tmp_path) == 1
    assert capsys.readouterr().out.rstrip().endswith("next step: give another folder with --store")


def test_packages_are_compared_with_bounds_and_tested_versions(monkeypatch):
    assert only(packages()).state == "ok"
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.1" if name == "timm" else real(name))
    broken, other = packages()
    assert broken.state == "problem"
    assert "timm 0.1 is not >=" in broken.text
    assert "timm 0.1 (" in other.text

    def missing(name):
        if name == "pandas":
            raise metadata.PackageNotFoundError
        return "999.0" if name == "rich" else real(name)

    monkeypatch.setattr(metadata, "version", missing)
    broken, other = packages()
    assert "pandas is missing" in broken.text
    assert (other.state, "rich 999.0 (" in other.text) == ("note", True)


@pytest.mark.parametrize(
    ("driver", "cuda", "words"),
    [
        ("", None, "no GPU: runs use the CPU"),
        ("580.1", None, "this PyTorch has no CUDA"),
        ("580.1", "13.0", r"PyTorch (CUDA 13.0) sees no GPU"),
    ],
)
def test_without_a_gpu_the_reason_is_said(monkeypatch, driver, cuda, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(doctor, "_driver", lambda: driver)
    finding = only(gpu())
    assert finding.state == "note"
    assert words in finding.text


@pytest.mark.parametrize(("free", "state"), [(70, "ok"), (20, "note")])
def test_a_gpu_is_named_with_its_free_memory(monkeypatch, free, state):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (free * 2**30, 80 * 2**30))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "NVIDIA H100")
    monkeypatch.setattr(doctor, "_driver", lambda: "580.1")
    monkeypatch.setattr("bench.api.engine.has_bfloat16", lambda device: True)
    finding = only(gpu())
    assert finding.state == state
    assert f"NVIDIA H100, {free}.0 of 80.0 GiB free, driver 580.1, precision bfloat16" in finding.text


def test_busy_cores_little_memory_and_a_full_disk_are_notes(monkeypatch, tmp_path):
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 90.0)
    assert (found := only(processor())).state == "note"
    assert "90% busy" in found.text
    monkeypatch.setattr(psutil, "virtual_memory", lambda: namedtuple("M", "available total")(2**30, 2**34))
    assert (found := only(memory())).state == "note"
    assert "1.0 of 16.0 GiB free" in found.text
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: Usage(100, 99, 2**30))
    assert (found := only(folder(tmp_path / "new" / "store", "store"))).state == "note"
    assert "1 GiB free" in found.text


def test_data_sets_that_are_there_and_those_that_are_not(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    here, absent = data_sets(tmp_path)
    assert here.text == "data: shapes (embedded), cifar10"
    assert "cifar100 (169 MB" in absent.text
    assert "cifar10 (" not in absent.text


def test_a_wrong_date_is_noticed(monkeypatch):
    assert only(clock()).state == "ok"
    monkeypatch.setattr(time, "gmtime", lambda: time.struct_time((1970, 1, 1, 0, 0, 0, 3, 1, 0)))
    assert only(clock()).state == "note"


def test_a_store_that_is_not_there_yet(tmp_path):
    assert "none yet" in only(store_health(tmp_path / "x")).text
