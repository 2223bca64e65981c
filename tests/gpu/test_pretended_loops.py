"""What a step of each training loop launches, copies and waits for: as `counts.toml` says.

Copies and waits are compared with every version of PyTorch, launches and library calls only with the one that wrote the
table: they are PyTorch's choice.
"""

import tomllib

import pytest

from tests.gpu.pretended import loops

TABLE = tomllib.loads(loops.TABLE.read_text(encoding="utf-8"))
RENEW = "if that is meant: python -m tests.gpu.pretended python -m tests.gpu.pretended.loops --renew"
REPLAYED = [f"{name}-replayed" for name in loops.REPLAYED]
NAMES = [*loops.LOOPS, *REPLAYED]


@pytest.fixture(scope="module")
def found(pretended):
    return pretended.report("tests.gpu.pretended.loops")


@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_as_the_table_says(found, name):
    of_version = {*loops.OF_VERSION, *(what + loops.INSIDE for what in loops.OF_VERSION)}
    compared = [what for what in TABLE[name] if found["torch"] == TABLE["torch"] or what not in of_version]
    expected = {what: TABLE[name][what] for what in compared}
    assert {what: found["loops"][name][what] for what in compared} == expected, RENEW


@pytest.mark.parametrize("name", NAMES)
def test_no_step_waits(name):
    """But for the thread that feeds from host memory, which waits for its own buffer."""
    assert TABLE[name]["waits"] == name.startswith("victim-fed")
    assert TABLE[name]["copies to the host"] == 0


@pytest.mark.parametrize("name", REPLAYED)
def test_a_replayed_step_is_one_launch_of_a_graph_that_holds_the_plain_step(name):
    """A graph would copy again what lies in host memory by then: it copies on the device alone."""
    plain, replayed = TABLE[name.removesuffix("-replayed")], TABLE[name]
    assert replayed["graphs"] == 1
    assert replayed["copies to the device inside graphs"] == replayed["copies to the host inside graphs"] == 0
    for what in ("convolutions", "matrix products"):
        assert (replayed[what], replayed[what + loops.INSIDE]) == (0, plain[what])
    assert replayed["launches inside graphs"] > 0.9 * plain["launches"]
    assert replayed["launches"] < 30


def test_the_table_has_every_loop():
    assert set(TABLE) == {"torch", *NAMES}
