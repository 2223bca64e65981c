"""A job whose code or files are not those of its plan fails: its result would be stored under the key of the others."""

from dataclasses import replace

import pytest

from bench import run_matrix
from bench.run.executors import inline
from bench.stages.execute import execute

WORDS = {"preset": "demo", "dataset": "shapes:train=40:test=20", "victims": "linear:epochs=1", "threads": 1}


@pytest.mark.parametrize(
    ("stage", "place", "said"),
    [
        ("poison", ("component", "source"), "the code of 'ops:.*', or a file that it reads, changed since"),
        ("purify", ("component", "content"), "the code of 'iss-bdr:.*', or a file that it reads, changed since"),
        ("train", ("component", "parameters"), "the code of 'linear:.*', or a file that it reads, changed since"),
        ("train", ("training",), "the code of bench.training changed since the plan was made; run the same command"),
    ],
)
def test_a_job_compares_its_code_with_the_plan(tmp_path, monkeypatch, stage, place, said):
    def older_plan(job, session, on_progress):
        preimage = job.preimage
        if job.stage == stage:
            preimage = preimage | {place[0]: preimage[place[0]] | {place[1]: "old"} if place[1:] else "old"}
        return execute(replace(job, preimage=preimage), session, on_progress)

    monkeypatch.setattr(inline, "execute", older_plan)
    frame = run_matrix("ops", "iss-bdr", store=tmp_path, **WORDS)
    assert frame.error_message.str.contains(said).any(), frame.error_message.tolist()
