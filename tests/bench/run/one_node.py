"""A Slurm cluster of one node, from Debian's `slurmctld` and `slurmd`; it starts in a second as root."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .waiting import wait_for

NEEDED = ("slurmctld", "slurmd", "munged", "sbatch")

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=2
GresTypes=gpu
NodeName={host} CPUs=4 RealMemory=8000 Gres=gpu:1 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10
"""


def missing() -> str:
    """Why there can be no cluster here; "" if there can."""
    absent = [name for name in NEEDED if not shutil.which(name)]
    if absent:
        return f"{', '.join(absent)} not installed (apt-get install slurmctld slurmd)"
    return "" if os.geteuid() == 0 else "Slurm's daemons are started as root"


@contextmanager
def one_node(folder: Path) -> Iterator[dict[str, str]]:
    """Runs the cluster; gives the environment variable by which Slurm's commands find it."""
    ports = _free_ports(2)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    configuration = folder / "slurm.conf"
    text = CONFIGURATION.format(
        host=socket.gethostname().partition(".")[0], controller_port=ports[0], node_port=ports[1], folder=folder
    )
    configuration.write_text(text)
    (folder / "gres.conf").write_text(
        "Name=gpu File=/dev/null\n"
    )  # Slurm gives it to a job; there is no device behind it
    key = folder / "munge.key"
    key.write_bytes(os.urandom(64))
    key.chmod(0o400)
    own = [f"--{name}-file={folder}/munged.{name}" for name in ("pid", "log", "seed")]
    environment = {"SLURM_CONF": str(configuration)}
    munge = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket", *own]
    started = [subprocess.Popen(munge, stderr=subprocess.DEVNULL)]
    try:
        wait_for((folder / "munge.socket").exists, 30)
        for command in (["slurmctld", "-D", "-c"], ["slurmd", "-D"]):
            with (folder / f"{command[0]}.out").open("w") as out:
                started.append(
                    subprocess.Popen(command, env={**os.environ, **environment}, stdout=out, stderr=subprocess.STDOUT)
                )
        wait_for(lambda: "idle" in _said(["sinfo", "--noheader"], environment), 30)
        yield environment
    finally:
        subprocess.run(["scancel", "--user=root"], env={**os.environ, **environment}, check=False)
        with suppress(AssertionError):
            wait_for(lambda: not _said(["squeue", "--noheader"], environment), 10)
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _said(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True).stdout
