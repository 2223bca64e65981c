"""`bench run` on a tiny matrix: results, resuming, repair, plan, housekeeping, Python."""

import json
import re
import signal
import time
from pathlib import Path

import pandas as pd
import pytest

from .conftest import TINY

RUN = ["run", "--attacks", "lsp,ops", "--defenses", "iss-jpeg,iss-bdr", *TINY]


def cells(store: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((store / "cells").glob("*.json"))]


def artifacts(store: Path) -> dict[str, int]:
    return {str(p.parent): p.stat().st_mtime_ns for p in store.glob("artifacts/*/*/*/manifest.json")}


def test_a_matrix_runs_and_running_it_again_computes_nothing(bench, tmp_path):
    first = bench(*RUN)
    assert first.code == 0, first.err
    found = cells(tmp_path / "results")
    assert len(found) == 3 * 3
    assert {c["status"] for c in found} == {"done"}
    assert {(c["attack"]["name"], c["defense"]["name"]) for c in found} >= {("none", "none"), ("none", "iss-jpeg")}
    for name in ("leaderboard.csv", "index.html"):
        path = tmp_path / "results" / "leaderboard" / name
        assert path.is_file()
        assert f"{name}: " in first.out
    before = artifacts(tmp_path / "results")
    second = bench(*RUN)
    assert second.code == 0
    assert "computed now: nothing" in second.out
    assert artifacts(tmp_path / "results") == before


def test_a_new_defense_reuses_poisons_and_trainings(bench, tmp_path):
    bench(*RUN)
    before = artifacts(tmp_path / "results")
    more = bench("run", "--attacks", "lsp,ops", "--defenses", "iss-jpeg,iss-bdr,jpeg", *TINY)
    assert more.code == 0
    assert "computed now: 3 purify, 3 train" in more.out
    assert before.items() <= artifacts(tmp_path / "results").items()


def test_costs_are_recorded_and_the_attack_is_not_charged(bench, tmp_path):
    bench(*RUN)
    frame = pd.read_csv(tmp_path / "results" / "leaderboard" / "cells.csv")
    row = frame[(frame.attack == "lsp") & (frame.defense == "iss-jpeg")].iloc[0]
    cell = next(c for c in cells(tmp_path / "results") if c["key"] == row.key)
    assert row.purify_seconds == pytest.approx(cell["costs"]["purify"]["wall_seconds"])
    assert cell["costs"]["purify"]["phases"]["apply"] > 0
    assert cell["costs"]["train"]["phases"]["train"] > 0
    assert cell["costs"]["poison"]["peak_host_bytes"] > 2**20
    assert len(cell["curve"]) == 2
    assert cell["curve"][-1]["clean_test_accuracy"] == cell["clean_test_accuracy"]


@pytest.mark.parametrize("stage", ["poison", "purify", "train"])
def test_a_damaged_artifact_is_made_again_and_reported(bench, tmp_path, stage):
    bench(*RUN)
    store = tmp_path / "results"
    data = next(iter(sorted(store.glob(f"artifacts/{stage}/*/*/data.safetensors"))))
    content = data.read_bytes()
    data.write_bytes(content[:-5])
    verify = bench("cache", "verify")
    assert verify.code == 1
    assert "1 damaged" in verify.out
    again = bench(*RUN)
    assert again.code == 0
    assert "damaged artifact computed again" in again.out
    assert data.read_bytes() == content
    assert bench("cache", "verify").code == 0


def test_plan_shows_what_would_run_and_runs_nothing(bench, tmp_path):
    planned = bench("plan", *RUN[1:])
    assert planned.code == 0
    assert "9 cells (3 attacks x 3 defenses x 1 victim x 1 seed), 21 jobs, 21 to run" in planned.out
    assert not artifacts(tmp_path / "results")
    bench(*RUN)
    again = bench("plan", *RUN[1:], "--seeds", "2")
    assert re.search(r"train +linear:epochs=2 +18 +9 +9 +\S+ s", again.out), "the nine trainings of seed 0 are cached"
    assert re.search(r"13 to run on .*: 13 jobs left, about \S+ s", again.out), "all of them were timed before"
    assert re.search(r"21 jobs left, about \d\S* s", planned.out), "nothing was timed: all of it by arithmetic"
    assert re.search(r"train +linear:epochs=2 .* ~\S+ s", planned.out)
    assert re.search(r"purify +iss-bdr .* short", planned.out)
    assert "~ was never timed here" in planned.out
    assert "~" not in again.out, "what was timed wins"
    assert len(again.out.splitlines()) < 20
    each = bench("plan", *RUN[1:], "--seeds", "2", "--jobs")
    assert len(each.out.splitlines()) == 34 + 2


def test_plan_and_cells_say_what_the_tables_of_the_data_set_decided(bench, tmp_path):
    (tmp_path / "mine.toml").write_text("[datasets.shapes.parameters.defenses]\njpeg = { quality = 31 }\n")
    words = ["mine.toml", "--attacks", "ops", "--defenses", "jpeg,iss-gray", *TINY]
    assert "for this data set (preset demo or file): jpeg quality=31" in bench("plan", *words).out
    bench("run", *words)
    defenses = {c["defense"]["name"]: c["defense"] for c in cells(tmp_path / "results")}
    assert defenses["jpeg"]["parameters"]["quality"] == 31
    assert defenses["jpeg"]["text"] == "jpeg:quality=31"


def test_seeds_share_what_does_not_depend_on_them(bench, tmp_path):
    ended = bench("run", "--attacks", "ops", "--defenses", "iss-jpeg", *TINY, "--seeds", "2")
    assert ended.code == 0
    assert "computed now: 2 poison, 4 purify, 8 train" in ended.out, "clean and OPS ignore their seed"
    assert len(cells(tmp_path / "results")) == 8


def test_show_cache_and_doctor(bench, tmp_path, monkeypatch):
    bench(*RUN)
    cell = cells(tmp_path / "results")[0]
    shown = bench("show", cell["key"][:8])
    assert shown.code == 0
    for part in ("clean test accuracy", "purify", "epoch", cell["dataset"]["spec"]):
        assert part in shown.out
    for unknown in ("zzz", "*", "[a", "../cells/"):
        refused = bench("show", unknown)
        assert refused.code == 2
        assert f"no cell begins with {unknown!r}" in refused.err
    assert "artifacts" in bench("cache", "ls").out
    monkeypatch.setenv("COLUMNS", "80")
    listed = bench("cache", "ls").out.splitlines()
    rows = [line for line in listed if re.match("(poison|purify|train) ", line)]
    assert len(rows) == len(artifacts(tmp_path / "results"))
    assert all(re.search(r" [\d.]+ \S+ +\d{4}-\d\d-\d\d$", row.rstrip()) for row in rows), "no word is broken"
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "results" / "partial" / "left").mkdir(parents=True, exist_ok=True)
    (tmp_path / "results" / "cells" / f"{cell['key']}.json").unlink()
    collected = bench("cache", "gc")
    assert "deleted train" in collected.out
    assert not (tmp_path / "results" / "partial").exists()
    assert "store results: 8 cells" in bench("doctor").out


def test_a_run_does_not_begin_while_garbage_is_collected(bench, tmp_path):
    from bench.store.artifacts import Store

    bench(*RUN)
    with Store(tmp_path / "results").alone():
        refused = bench(*RUN)
        assert bench("plan", *RUN[1:]).code == 0
    assert refused.code == 2
    assert "`bench cache gc` is at work in it; run the same command again when it has ended" in refused.err
    assert bench(*RUN).code == 0


def test_publish_collects_stores(bench, tmp_path):
    bench(*RUN, "--store", "one")
    bench("run", "--attacks", "ar", "--defenses", "iss-jpeg", *TINY, "--store", "two")
    ended = bench("publish", "--store", "one", "--store", "two", "--out", "site")
    assert ended.code == 0
    frame = pd.read_csv(tmp_path / "site" / "cells.csv")
    assert set(frame.attack) == {"none", "lsp", "ops", "ar"}
    assert bench("publish", "--store", "nowhere", "--out", "site2").code == 2


def test_stores_that_disagree_are_refused(bench, tmp_path):
    for store in ("one", "two"):
        bench(*RUN, "--store", store)
    path = next(iter(sorted((tmp_path / "two" / "cells").glob("*.json"))))
    cell = json.loads(path.read_text())
    path.write_text(json.dumps({**cell, "clean_test_accuracy": cell["clean_test_accuracy"] + 0.1}))
    ended = bench("publish", "--store", "one", "--store", "two", "--out", "site")
    assert ended.code == 2
    assert "their accuracies differ" in ended.err
    assert not (tmp_path / "site").exists()


def test_python_gives_the_cells_of_the_command(bench, tmp_path):
    from bench import run_matrix

    bench(*RUN)
    frame = run_matrix(
        "lsp,ops",
        ["iss-jpeg", "iss-bdr"],
        "linear:epochs=2",
        dataset="shapes:train=64:test=32",
        preset="demo",
        store=tmp_path / "python",
    )
    command = pd.read_csv(tmp_path / "results" / "leaderboard" / "cells.csv")
    assert frame.error_message.isna().all(), frame.error_message.dropna().tolist()
    assert frame.key.tolist() == command.key.tolist()
    assert frame.clean_test_accuracy.tolist() == pytest.approx(command.clean_test_accuracy.tolist())


def wait_for(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_half_way_continues(start, bench, tmp_path, how):
    run = ["run", "--attacks", "lsp,ops", "--defenses", "iss", *TINY[:-2], "--threads", "1"]
    store = tmp_path / "results"
    process = start(*run)
    wait_for(lambda: len(list(store.glob("cells/*.json"))) >= 2 or process.poll() is not None)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    done = artifacts(store)
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL), err
    assert 0 < len(list(store.glob("cells/*.json"))) < 12, "it was stopped half-way"
    if how == signal.SIGINT:
        assert "run the same command again to continue" in err
        assert "Traceback" not in err
    ended = bench(*run)
    assert ended.code == 0, ended.err
    assert len(cells(store)) == 12
    assert done.items() <= artifacts(store).items(), "nothing that was finished is computed again"


def test_the_command_prints_plain_lines_when_it_is_not_a_terminal(start):
    process = start("run", "--attacks", "ops", "--defenses", "iss-bdr", *TINY)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "[10/10] train linear:epochs=2" in err
    assert "\x1b[" not in out + err


@pytest.mark.slow
def test_processes_of_their_own_give_the_same_accuracies(bench, tmp_path):
    run = ["run", "--attacks", "ops", "--defenses", "iss-jpeg", *TINY[:-2], "--threads", "1"]
    assert bench(*run).code == 0
    ended = bench(*run, "--store", "other", "--executor", "submitit:parallel=2")
    assert ended.code == 0, ended.err
    here, there = ({c["key"]: c["clean_test_accuracy"] for c in cells(tmp_path / s)} for s in ("results", "other"))
    assert here == there


def test_workers_of_this_machine_give_the_same_accuracies_and_pass_failures_on(bench, tmp_path):
    (tmp_path / "killed.py").write_text(
        "import os, signal\nfrom dataclasses import dataclass\nfrom bench.registry import defenses\n"
        '@defenses.register("kills-its-worker")\n@dataclass(frozen=True)\nclass Killed:\n    """Dies."""\n'
        "    def purify(self, train, ctx):\n        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run = ["run", "--attacks", "none", "--defenses", "iss-jpeg", *TINY]
    assert bench(*run).code == 0
    words = ["--store", "other", "--executor", "local:gpus=none:cpus=2", "--plugin", "killed.py"]
    ended = bench(*run, *words, "--defenses", "iss-jpeg,kills-its-worker")
    assert ended.code == 1, ended.err
    done, failed = [], []
    for cell in cells(tmp_path / "other"):
        (done if cell["status"] == "done" else failed).append(cell)
    here = {c["key"]: c["clean_test_accuracy"] for c in cells(tmp_path / "results")}
    assert {c["key"]: c["clean_test_accuracy"] for c in done} == here
    assert not any(c["costs"]["train"]["exclusive"] for c in done), "they share the processors"
    assert [c["error"]["kind"] for c in failed] == ["ProcessLost"]
    assert "signal 9: killed? out of memory?); its log: " in ended.out
    assert re.search(r"FAILED .*; 1 job that needs it will not run; ", ended.err)
    assert f"[{1 + 3 + 3}/7]" in ended.err, "what will not run counts as well"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_that_a_library_swallows_stops_the_run(bench, tmp_path, monkeypatch, how):
    import os

    from bench.stages import execute as stages

    def swallow(job, session, on_progress):
        try:
            os.kill(os.getpid(), how)
            time.sleep(5)
        except KeyboardInterrupt:
            pass
        return stages.Report(job.key, job.stage, "failed", 0.0, {"stage": job.stage, "kind": "x", "message": "y"})

    monkeypatch.setattr("bench.run.executors.inline.execute", swallow)
    ended = bench(*RUN)
    assert ended.code == 128 + how
    assert "stopped; finished stages are in the store: run the same command again to continue" in ended.err
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_times_of_another_data_set_are_no_estimate(bench):
    bench(*RUN)
    other = ["shapes:train=64:test=32:seed=1" if word.startswith("shapes") else word for word in RUN[1:]]
    assert re.search(r"21 jobs left, about \d", bench("plan", *other).out)


def test_plan_takes_the_command_line_of_run(bench, tmp_path):
    line = ["--attacks", "none", "--defenses", "iss-gray", *TINY[:-2], "--threads", "999"]
    more = ["--executor", "local:gpus=none:cpus=999", "--stage-timeout", "60", "--out", "site"]
    ended = bench("plan", *line, *more)
    assert ended.code == 0, ended.err
    assert re.search(r"5 jobs, 5 to run on .*: 5 jobs left, about \S+ s, \S+ s with all at a time", ended.out)
    assert "s with 2 at a time\n" in bench("plan", *line, "--executor", "local:gpus=none:cpus=2").out
    assert re.search(r"note: --threads 999: this process may use \d+ processors?; more threads", ended.err)
    assert re.search(r"note: --executor: 999 processes, and this one may use \d+ processors?; more", ended.err)
    assert not (tmp_path / "site").exists()
    assert "unknown executor 'locall'; did you mean local?" in bench("plan", *line, "--executor", "locall").err
