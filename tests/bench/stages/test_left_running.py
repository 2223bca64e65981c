import subprocess

import psutil

from bench.stages.left_running import no_child_left


def test_what_a_process_of_before_starts_is_not_the_stages():
    daemon = "read line; sleep 60 & echo started; wait"
    with subprocess.Popen(["sh", "-c", daemon], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        with no_child_left("the stage"):
            print(file=process.stdin, flush=True)
            assert process.stdout.readline() == "started\n"
        for child in psutil.Process(process.pid).children():
            child.kill()
