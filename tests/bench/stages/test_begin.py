"""When a stage begins, all is loaded that is not its work: from then on its time is limited."""

import torch

from bench.datasets import loading
from bench.run.prepare import Options, prepared
from bench.select.settings import Settings
from bench.stages.execute import execute
from bench.store.artifacts import Store


def test_a_stage_begins_once_when_its_data_are_loaded(tmp_path):
    settings = Settings("demo", "shapes:train=40:test=20", "none", "none", "linear:epochs=1")
    options = Options(tmp_path / "store", tmp_path, device="cpu", deterministic=True)
    with prepared([settings], options, runs=False) as ready:
        plan = ready.plan
    job = next(job for job in plan.jobs.values() if job.stage == "poison")
    store, found = Store(tmp_path / "store"), []
    loading.load.cache_clear()

    def begins():
        switched = torch.are_deterministic_algorithms_enabled()  # the first switch imports the compiler: seconds
        found.append((loading.load.cache_info().currsize, switched, store.state(job.stage, job.key)))

    assert execute(job, plan.session, on_begin=begins).status == "done"
    assert found == [(1, True, "absent")]
    execute(job, plan.session, on_begin=begins)
    assert len(found) == 1, "its artifact is in the store"
