"""Every replayed training step can be captured; a step that cannot be runs plainly, with the reason in the logs."""

import pytest

from tests.gpu.pretended import build, graphs


@pytest.fixture(scope="module")
def found(pretended):
    return pretended.report("tests.gpu.pretended.graphs", env={build.UNCACHED: None})


@pytest.mark.parametrize("case", graphs.CASES)
def test_a_step_can_be_captured(found, case):
    engines, reasons, hazards = found["cases"][case]
    assert not reasons, reasons
    assert engines == ["graph"]
    assert not hazards


def test_every_defense_that_is_declared_replayable_is_a_case(found):
    assert {f"defenses {name}" for name in found["declared"]} <= set(graphs.CASES)


@pytest.mark.parametrize("offence", graphs.REFUSED)
def test_what_cannot_be_captured_runs_plainly(found, offence):
    engines, (reason,), _ = found["refused"][offence]
    assert engines == ["eager"]
    assert reason.startswith("not captured: ")
    assert "due to a previous error" not in reason, "it names the first one"


def test_another_thread_may_wait_while_a_step_is_captured(found):
    assert found["allowed"] == [["graph"], [], []]


def test_a_copy_of_pinned_host_memory_in_a_graph_is_noticed(found):
    assert found["pinned"] == [["graph"], [], ["copies to the device inside graphs"]]


def test_all_epochs_are_captured_on_one_stream(found):
    assert found["streams"] == 1
