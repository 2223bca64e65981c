from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.store.results import CellResult
from leaderboard.published.comparison import COMPARISON_COLUMNS
from leaderboard.published.pairs import Pair, published_of
from leaderboard.published.sources import recipe_difference, sources
from leaderboard.published.values import published_values, tolerance
from leaderboard.site.comparison_table import comparison_view
from leaderboard.site.views import Tables, tables_of
from leaderboard.tables.table import frames_of

MakeCell = Callable[..., CellResult]


@pytest.fixture(scope="module")
def tables(matrix: list[CellResult]) -> Tables:
    """The matrix, each victim trained 60 epochs at batch 128."""
    point = {"epoch": 60, "train_loss": 1.0, "train_accuracy": 0.9, "clean_test_accuracy": 0.9}
    return tables_of(frames_of([replace(cell, curve=[point]) for cell in matrix]))


def test_every_source_of_a_value_has_a_row() -> None:
    assert {value.source for value in published_values()} == set(sources())


@pytest.mark.parametrize(
    ("source", "defense", "epochs", "batch_size", "text"),
    [
        ("wu2023ops", "none", 200, 128, "none in epochs and batch size"),
        ("qin2023apbench", "none", 60, 128, "200 epochs (here 60); batch 256 (here 128)"),
        ("wang2021advin", "at", 100, 128, "120 epochs (here 100); batch size not printed"),
        ("liu2023iss", "at", 100, 128, "last or best epoch is not said"),
        ("wu2023ops", "at", 100, None, "number of epochs not printed; batch 128 (here unknown)"),
    ],
)
def test_the_difference_of_recipes_is_told(
    source: str, defense: str, epochs: int, batch_size: int | None, text: str
) -> None:
    assert recipe_difference(source, defense, epochs, batch_size) == text


def test_every_value_stands_beside_what_was_measured(tables: Tables) -> None:
    found = tables.comparison
    assert list(found.columns) == list(COMPARISON_COLUMNS)
    clean = found["attack_selection"] == "none"
    (row,) = found[clean & (found["defense_selection"] == "iss-gray") & (found["source"] == "liu2023iss")].to_dict(
        "records"
    )
    assert (row["published_accuracy"], row["measured_accuracy"]) == (0.9241, pytest.approx(0.93))
    assert (row["verdict"], row["tolerance"]) == ("reproduced", tolerance())
    assert row["difference"] == pytest.approx(0.0059)
    assert row["measured_half_width_95"] == pytest.approx(4.303 * 0.01 / 3**0.5, rel=1e-3), "clean cells have seeds too"
    assert row["recipe_difference"] == "last or best epoch is not said"
    other = found[found["reason"].str.contains("ops: sparsity is not recorded")]
    assert set(other["verdict"]) == {"not comparable"}
    assert other["tolerance"].isna().all()
    (row,) = found[(found["attack_selection"] == "lsp") & (found["source"] == "liu2023iss")].to_dict("records")[:1]
    assert row["published_recipe"].startswith("lsp:eps=1:patch=8:separation=10:rounding=nearest|floor:poison_rate=1 / ")


def test_the_best_per_attack_has_the_interval_of_its_member_on_clean_data_too(make_cell: MakeCell) -> None:
    clean = {"iss-gray": (0.90, 0.92), "iss-jpeg": (0.80, 0.81)}
    cells = [make_cell("none", d, v, seed=s) for d, values in clean.items() for s, v in enumerate(values)]
    cells += [make_cell("lsp", d, 0.5, seed=s) for d in clean for s in (0, 1)]
    found = tables_of(frames_of(cells))
    widths = {str(d): p["none"].half_width_95 for d, p in zip(found.board["defense"], found.pairs, strict=True)}
    assert widths["iss (best per attack)"] == widths["iss-gray"] == pytest.approx(12.7062 * 0.01, rel=1e-4)


def test_the_column_that_repeats_undefended_is_marked(tables: Tables) -> None:
    found = tables.comparison
    (row,) = (
        found[found["marks"].notna() & (found["marks"] != "")].query("attack_selection == 'lsp'").to_dict("records")
    )
    assert (row["marks"], row["defense_selection"]) == ("repeat of undefended", "none")
    assert row["published_accuracy"] == pytest.approx(0.1861)
    shown = [row.source for row in comparison_view(published_of(tables.pairs)).rows]
    assert "qin2023apbench (2023), repeat of undefended" in shown


def test_comparable_values_come_first_on_the_page(tables: Tables) -> None:
    view = comparison_view(published_of(tables.pairs))
    verdicts = [row.verdict[2:] for row in view.rows]
    assert verdicts == sorted(verdicts, key=lambda verdict: {"not comparable": 1, "other method": 2}.get(verdict, 0))
    for verdict in set(verdicts):
        assert f"{verdicts.count(verdict)} {verdict}" in view.summary


def test_a_reason_of_all_that_are_not_comparable_stands_once(make_cell: MakeCell) -> None:
    cells = [make_cell(attack, "iss-jpeg", 0.5, preset="cpu") for attack in ("lsp", "none")]
    found = published_of(tables_of(frames_of(cells)).pairs)
    view = comparison_view(found)
    assert view.shared == "measured with preset cpu"
    reasons = [row.reason for row in view.rows if row.verdict.endswith("not comparable")]
    assert len(reasons) > 1
    assert not any("preset cpu" in reason for reason in reasons)
    left = {part for reason in reasons for part in reason.split("; ")}
    assert left >= {part for each in found for part in each.reason.split("; ")} - {view.shared}


def _pair(cells: list[CellResult], attack: str, defense: str) -> Pair:
    found = tables_of(frames_of(cells))
    return dict(zip(found.board["defense"], found.pairs, strict=True))[defense][attack]


def test_the_best_known_value_has_the_parameters_that_its_row_states(make_cell: MakeCell) -> None:
    def mixed(images: int) -> CellResult:
        cell = make_cell("ar", "clean-mix", 0.5)
        return replace(cell, defense=replace(cell.defense, parameters={"images": images}))

    for images, accuracy in {500: 0.366, 4000: 0.796}.items():
        best = _pair([mixed(images)], "ar", "clean-mix").best_known
        assert best is not None
        assert best.published.accuracy == pytest.approx(accuracy)


def test_of_an_undefended_poison_the_lowest_value_is_the_best(make_cell: MakeCell) -> None:
    cells = [make_cell("lsp", defense, 0.5) for defense in ("none", "iss-jpeg")]
    for defense, best in (("none", min), ("iss-jpeg", max)):
        pair = _pair(cells, "lsp", defense)
        values = {found.published.accuracy for found in pair.alike if found.verdict != "not comparable"}
        assert values
        assert pair.best_known is not None
        assert pair.best_known.published.accuracy == best(values)


def test_a_victim_that_no_source_has_stands_beside_the_papers_own(make_cell: MakeCell) -> None:
    cells = [make_cell("lsp", "iss-jpeg", 0.5, victim="small-cnn", dataset="cifar10-jpeg", preset="cpu")]
    best = _pair(cells, "lsp", "iss-jpeg").best_known
    assert best is not None
    assert best.published.accuracy == pytest.approx(0.83, abs=0.05)
    assert "measured on cifar10-jpeg, published on cifar10" in best.reason
    assert "measured with small-cnn, published with resnet18" in best.reason
    assert set(tables_of(frames_of(cells)).comparison["verdict"]) <= {"not comparable", "other method"}
