"""Waiting in tests of executors: for a condition, and for reports that come from other processes."""

import threading
import time
from contextlib import contextmanager


def wait_for(condition, seconds=60, pause=0.05):
    """The value of the condition as soon as it is true; an AssertionError if it takes longer than so many seconds."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(pause)
    return found


@contextmanager
def in_background(reports, folder):
    """Waits for all reports in a thread, and at the end of the block for the thread; a failure stops the jobs."""
    got = []
    thread = threading.Thread(target=lambda: got.extend(reports), daemon=True)
    thread.start()
    try:
        yield got
    except BaseException:
        (folder / "stop").touch()
        raise
    finally:
        thread.join(60)
    assert not thread.is_alive()
