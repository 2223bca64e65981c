from hypothesis import given
from hypothesis import strategies as st

from leaderboard.tables.costs import Spread
from leaderboard.tables.ranking import accuracy_ranks, cost_ranks


def test_without_an_interval_only_what_prints_alike_ties() -> None:
    assert accuracy_ranks([0.8511, 0.9012, 0.8514, 0.7], [None] * 4) == [2, 1, 2, 4]


def test_neighbors_within_the_interval_of_their_difference_share_a_rank() -> None:
    assert accuracy_ranks([0.90, 0.88, 0.80], [0.001, 0.03, 0.001]) == [1, 1, 3]
    assert accuracy_ranks([0.90, 0.88, 0.80], [0.001, 0.01, 0.001]) == [1, 2, 3]
    assert accuracy_ranks([0.90, 0.88, 0.80], [0.015] * 3) == [1, 1, 3], "half the interval is 2.1 points"


def test_what_is_close_to_the_second_alone_comes_next() -> None:
    assert accuracy_ranks([0.90, 0.89, 0.88, 0.87], [0.01] * 4) == [1, 1, 3, 3]


def test_costs_share_a_rank_at_two_significant_digits() -> None:
    assert cost_ranks([Spread(cost, cost, cost) for cost in (104.0, 96.0, 101.0, 0.0)]) == [3, 2, 3, 1]


def test_costs_share_a_rank_where_their_ranges_meet_or_are_wider_than_the_difference() -> None:
    assert cost_ranks([Spread(10, 9, 13), Spread(14, 12, 15)]) == [1, 1]
    assert cost_ranks([Spread(10, 9, 11), Spread(14, 12, 15)]) == [1, 2]
    assert cost_ranks([Spread(10, 10, 10), Spread(14, 13.9, 19)]) == [1, 1], "5 s of range, 4 s apart"
    assert cost_ranks([Spread(14, 14, 14), Spread(10, 10, 10)]) == [2, 1]


@given(st.lists(st.floats(0, 1), max_size=12))
def test_ranks_agree_with_the_obvious_count(means: list[float]) -> None:
    printed = [round(100 * mean, 1) for mean in means]
    obvious = [1 + sum(other > mine for other in printed) for mine in printed]
    assert accuracy_ranks(means, [None] * len(means)) == obvious
