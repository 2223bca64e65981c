"""A plan of a login node without a GPU, and one of its jobs on a node with one."""

import json

from bench.run.prepare import Options, prepared
from bench.select.settings import Settings
from bench.store.artifacts import Store

SETTINGS = ("demo", "shapes:train=64:test=32", "lsp", "iss-gray", "linear")
NODE = """
import json, sys
from pathlib import Path
from bench.run.prepare import Options, prepared
from bench.run.remote import execute_text
from bench.select.settings import Settings
folder, settings, job, session = sys.argv[1:]
with prepared([Settings(*json.loads(settings))], Options(Path(folder) / "other", Path(folder)), runs=False) as ready:
    plan = ready.plan
report = json.loads(execute_text(job, session))
print(json.dumps([sorted(plan.jobs), [cell.key for cell in plan.cells], report["status"], report["error"]]))
"""


def test_a_node_has_the_keys_of_the_login_node_and_records_its_own_device(pretended, tmp_path):
    options = Options(tmp_path / "store", tmp_path, device="cuda", elsewhere=True)
    with prepared([Settings(*SETTINGS)], options) as ready:
        plan = ready.plan
    job = next(job for job in plan.jobs.values() if job.component.startswith("lsp"))
    done = pretended.run("-c", NODE, tmp_path, json.dumps(SETTINGS), job.to_json(), plan.session.to_json())
    assert done.returncode == 0, done.stderr[-3000:]
    jobs, cells, status, error = json.loads(done.stdout.splitlines()[-1])
    assert (jobs, cells) == (sorted(plan.jobs), [cell.key for cell in plan.cells])
    assert status == "done", error
    manifest = Store(tmp_path / "store").manifest("poison", job.key)
    assert manifest.environment["device"].startswith("Pretended H100, ")
    assert manifest.cost.device.startswith("Pretended H100, ")
    assert manifest.cost.device.endswith(", bfloat16, auto engine")
