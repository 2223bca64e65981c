"""What a step of each training loop launches, copies and waits for: as `counts.toml` says.

Copies and waits are compared with every version of PyTorch, launches and library calls only with the one that wrote the
table: they are PyTorch's choice.
"""

import tomllib

import pytest

from tests.gpu.pretended import loops

TABLE = tomllib.loads(loops.TABLE.read_text(encoding="utf-8"))
RENEW = "if that is meant: python -m tests.gpu.pretended python -m tests.gpu.pretended.loops --renew"


@pytest.fixture(scope="module")
def found(pretended):
    return pretended.report("tests.gpu.pretended.loops")


@pytest.mark.parametrize("name", loops.LOOPS)
def test_a_step_is_as_the_table_says(found, name):
    compared = loops.OF_CODE + (loops.OF_VERSION if found["torch"] == TABLE["torch"] else ())
    expected = {what: TABLE[name][what] for what in compared}
    assert {what: found["loops"][name][what] for what in compared} == expected, RENEW


@pytest.mark.parametrize("name", loops.LOOPS)
def test_no_step_waits(name):
    """But for the thread that feeds from host memory, which waits for its own buffer."""
    assert TABLE[name]["waits"] == (name == "victim-fed")
    assert TABLE[name]["copies to the host"] == 0


def test_the_table_has_every_loop():
    assert set(TABLE) == {"torch", *loops.LOOPS}
