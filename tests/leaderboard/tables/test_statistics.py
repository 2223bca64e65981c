import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderboard.tables.statistics import half_width_95, mean, sample_std


def test_three_values_by_hand() -> None:
    values = [0.80, 0.82, 0.84]
    assert mean(values) == pytest.approx(0.82)
    assert sample_std(values) == pytest.approx(0.02)
    assert half_width_95(values) == pytest.approx(4.302653 * 0.02 / math.sqrt(3), rel=1e-6)


@pytest.mark.parametrize(("n", "t"), [(2, 12.706205), (5, 2.776445), (11, 2.228139), (121, 1.979930)])
def test_interval_uses_the_tabulated_student_t(n: int, t: float) -> None:
    values = [float(i) for i in range(n)]
    deviation = sample_std(values)
    assert deviation is not None
    assert half_width_95(values) == pytest.approx(t * deviation / math.sqrt(n), rel=1e-6)


def test_one_value_has_a_mean_but_no_interval() -> None:
    assert mean([0.5]) == 0.5
    assert sample_std([0.5]) is None
    assert half_width_95([0.5]) is None


@pytest.mark.parametrize("values", [[], [None], [0.5, None], [0.5, float("nan"), 0.7]])
def test_a_missing_value_gives_no_result(values: list[float | None]) -> None:
    assert mean(values) is None
    assert sample_std(values) is None
    assert half_width_95(values) is None


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9), st.floats(-1, 1))
def test_interval_does_not_depend_on_the_level(values: list[float], shift: float) -> None:
    assert half_width_95(values) == pytest.approx(half_width_95([v + shift for v in values]), abs=1e-9)
