"""The first five seconds: what the tiles above the board say."""

from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from bench.store.results import CellResult
from leaderboard.site.headline import Answer, headline
from leaderboard.tables.table import cells_frame, leaderboard_frame

MakeCell = Callable[..., CellResult]


def said(cells: list[CellResult]) -> dict[str, Answer]:
    board: pd.DataFrame = leaderboard_frame(cells_frame(cells))
    return {answer.question: answer for answer in headline(board, 10_000)}


def test_the_best_its_price_and_the_interval(matrix: list[CellResult]) -> None:
    found = said(matrix)
    assert found["Best defense"].text == "dvae"
    assert found["What it costs"].text == "6.67\xa0min"
    assert "5.00× an undefended training; the best of the cheaper ones: iss-jpeg" in found["What it costs"].note
    assert found["How sure"].text == "± 2.5 points"
    assert found["How sure"].note == "95 %, 3 seeds, n = 6 cells of dvae; 8.0 points ahead of iss-jpeg"
    assert found["Without defense"].text == "25.0 %"


def test_too_few_seeds_rank_nothing_and_the_answer_says_so(make_cell: MakeCell) -> None:
    accuracies = {"a": 0.9, "b": 0.8, "none": 0.1}
    cells = [make_cell(a, d, 0.9 if a == "none" else v) for d, v in accuracies.items() for a in ("none", "lsp")]
    found = said(cells)
    assert list(found) == ["Highest mean, provisional", "What it costs", "How sure", "Without defense"]
    best = found["Highest mean, provisional"]
    assert best.text == "a"
    assert best.note.endswith("; fewer than three seeds, so nothing is ranked")


def test_one_seed_says_what_the_test_images_alone_leave_open(matrix: list[CellResult]) -> None:
    sure = said([cell for cell in matrix if cell.seed == 1])["How sure"]
    assert sure.text == "one seed, no interval"
    # 1.96 * sqrt(0.9 * 0.1 / 10,000) = 0.00588
    assert sure.note.replace("\xa0", " ") == (
        "8.0 points ahead of iss-jpeg, one training each; n = 2 cells of dvae on 10,000 test images, "
        "which alone leave ± 0.6 points in each"
    )


def test_seeds_that_agree_by_luck_make_no_defense_the_best(make_ranked_cell: MakeCell) -> None:
    for mean, text in ((0.904, "no defense helps"), (0.92, "a")):
        cells = [make_ranked_cell("lsp", d, v, seed=s) for d, v in (("none", 0.9), ("a", mean)) for s in range(3)]
        assert next(iter(said(cells).values())).text == text, "10,000 test images leave 0.6 points"


def test_a_tie_is_as_sure_as_its_less_sure_part(make_ranked_cell: MakeCell) -> None:
    spread = {"a": (0.90, 0.91), "b": (0.88, 0.92)}
    cells = [make_ranked_cell("lsp", d, v, seed=s) for d, values in spread.items() for s, v in enumerate(values)]
    found = said([*cells, *(make_ranked_cell("lsp", "none", 0.1, seed=s) for s in (0, 1))])
    assert found["Best defenses"].text == "a and b: not told apart"
    assert found["How sure"].text == "± 25.4 points", "12.7 * 0.0283 / sqrt(2)"
    width = "interval of the difference ±\xa026.2"  # the root of 6.35 squared + 25.41 squared
    assert found["How sure"].note == f"95 %, 2 seeds, n = 2 cells of b; 0.5 points between a and b, {width}"


def test_ties_are_named_with_their_costs(make_ranked_cell: MakeCell) -> None:
    costs = {"a": 30.0, "b": 2.0, "c": 1.0}
    accuracies = {"a": 0.9, "b": 0.9, "c": 0.5, "none": 0.1}
    cells = [make_ranked_cell("lsp", d, v, purify=costs.get(d, 0)) for d, v in accuracies.items()]
    cells += [make_ranked_cell("none", d, 0.9, purify=costs.get(d, 0)) for d in accuracies]
    found = said(cells)
    best = found["Best defenses"]
    assert best.text == "a and b: not told apart"
    assert best.note.replace("\xa0", " ") == "mean accuracy and cost; worst 90.0 % (lsp) and 90.0 % (lsp)"
    assert best.values == ("a: 90.0\xa0% for 30\xa0s", "b: 90.0\xa0% for 2\xa0s")
    assert found["What it costs"].text == "1.30× and 1.020×"
    assert found["What it costs"].note == ("an undefended training; the best of the cheaper ones: c, 50.0\xa0% for 1 s")
    found = said([*cells, *(make_ranked_cell(t, "d", 0.9, exclusive=False) for t in ("none", "lsp"))])
    assert found["Best defenses"].text == "a, b and 1 more: not told apart"
    assert found["What it costs"].note.endswith("; d not ranked: not exclusive")


def test_the_cost_of_one_of_several_devices_says_so(make_cell: MakeCell) -> None:
    cells = [make_cell("lsp", "a", 0.9), make_cell("lsp", "b", 0.8, device="Other GPU")]
    assert said(cells)["What it costs"].note.endswith("not ranked: measured on Test GPU, others elsewhere")


def test_where_no_poison_took_no_defense_is_best(make_ranked_cell: MakeCell) -> None:
    accuracies = {"none": {"none": 0.9, "lsp": 0.89, "ops": 0.9}, "a": {"none": 0.9, "lsp": 0.91, "ops": 0.9}}
    cells = [make_ranked_cell(a, d, v) for d, by_attack in accuracies.items() for a, v in by_attack.items()]
    found = said(cells)
    assert list(found) == ["Best defense", "Without defense"]
    best = found["Best defense"]
    assert best.text == "no poison took"
    assert not best.leading
    assert best.note.startswith("All 2 attacks leave the undefended victim as accurate as on clean data")
    took = [make_ranked_cell("em", d, v) for d, v in (("none", 0.1), ("a", 0.8))]
    best = said([*cells, *took])["Best defense"]
    assert best.text == "a"
    assert best.leading
    assert best.note.endswith("; 1 of 3 poisons took, and only these count")


def test_a_defense_that_is_not_better_than_none_is_not_the_best(make_ranked_cell: MakeCell) -> None:
    clean = [make_ranked_cell("none", d, 0.9) for d in ("none", "a")]
    for accuracy, how in ((0.275, "not above the"), (0.323, "above the")):
        found = said([*clean, make_ranked_cell("lsp", "none", 0.318), make_ranked_cell("lsp", "a", accuracy)])
        assert list(found) == ["Best defense", "Without defense"]
        best = found["Best defense"]
        assert best.text == "no defense helps"
        assert not best.leading
        note = f"the highest mean, {100 * accuracy:.1f} % with a, is {how} 31.8 % without defense"
        assert best.note.replace("\xa0", " ").startswith(note)
    assert best.note.endswith("by less than the 95 % interval"), "1.96 * sqrt(0.318 * 0.682 / 10,000) = 0.0091"


def test_of_a_tie_only_what_is_better_than_none_is_named(make_ranked_cell: MakeCell) -> None:
    values = {"a": (0.60, 0.62), "b": (0.30, 0.40), "none": (0.34, 0.36)}
    cells = [make_ranked_cell("lsp", d, v, seed=s) for d, of in values.items() for s, v in enumerate(of)]
    cells += [make_ranked_cell("none", d, 0.9, seed=s) for d in values for s in (0, 1)]
    found = said(cells)
    assert (found["Best defense"].text, found["Best defense"].values) == ("a", ("61.0\xa0%",))
    assert (
        found["How sure"]
        .note.replace("\xa0", " ")
        .endswith("; 26.0 points between a and b, interval of the difference ± 64.8")
    )


def test_a_lead_below_the_interval_of_the_difference_is_none(make_cell: MakeCell) -> None:
    """One seed, 10,000 images: 0.98 points at 59.5 % and 59.7 % give 1.36; nothing is ranked."""
    costs = {"dvae": 96.0, "jpeg": 1.0, "gray": 0.3}
    values = {"dvae": 0.597, "jpeg": 0.595, "gray": 0.16, "none": 0.15}
    cells = [
        make_cell(a, d, 0.9 if a == "none" else v, purify=costs.get(d, 0))
        for d, v in values.items()
        for a in ("none", "lsp")
    ]
    found = said(cells)
    best = found["Highest means, provisional"]
    assert best.text == "dvae and jpeg: not told apart"
    assert best.values == ("dvae: 59.7\xa0% for 96\xa0s", "jpeg: 59.5\xa0% for 1\xa0s")
    assert not best.leading, "no rank, no mark"
    sure = found["How sure"].note.replace("\xa0", " ")
    assert sure.startswith("0.2 points between dvae and jpeg, interval of the difference ± 1.4; n = 1 cell of dvae on")
    apart = said([replace(c, clean_test_accuracy=0.617) if c.defense.name == "dvae" else c for c in cells])
    assert apart["Highest mean, provisional"].text == "dvae", "2.2 points"


def test_the_cheapest_is_said_only_where_every_defense_has_a_mean_and_a_cost(make_ranked_cell: MakeCell) -> None:
    costs = {"a": 1.0, "b": 30.0}
    cells = [make_ranked_cell("lsp", d, v, purify=costs.get(d, 0)) for d, v in (("a", 0.9), ("b", 0.5), ("none", 0.1))]
    assert said(cells)["What it costs"].note.endswith("an undefended training; the cheapest")
    failed = make_ranked_cell("lsp", "c", status="failed")
    assert said([*cells, failed])["What it costs"].note.endswith("an undefended training")
    tie = make_ranked_cell("lsp", "c", 0.9, purify=60.0)
    assert said([*cells, tie])["What it costs"].note.endswith("; the cheapest: a")
