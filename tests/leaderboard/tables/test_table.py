"""Aggregates against values computed by hand from the matrix in conftest.py."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from bench.errors import UserError
from bench.store.results import CellResult
from leaderboard.tables.columns import BOARD_COLUMNS, CELL_COLUMNS, as_text
from leaderboard.tables.table import cells_frame, leaderboard_frame
from tests.leaderboard.tables.boards import board_of, without

MakeCell = Callable[..., CellResult]
COMPUTED = ["mean_accuracy", "half_width_95", "worst_accuracy", "worst_attack", "recovery", "cost_seconds", "rank"]


def cell_of(cells: list[CellResult], defense: str, attack: str = "lsp") -> "pd.Series[object]":
    frame = cells_frame(cells).set_index(["defense", "attack"])
    return frame.loc[(defense, attack)]


class TestCells:
    def test_columns_are_documented_and_stable(self, matrix: list[CellResult]) -> None:
        frame = cells_frame(matrix)
        assert list(frame.columns) == [
            *CELL_COLUMNS,
            "score_poison_psnr_db",
            "score_purified_psnr_db",
            "provenance_threads",
            "provenance_versions_torch",
        ]
        assert frame.equals(cells_frame(reversed(matrix))), "the order of the files must not matter"

    def test_every_status_is_a_row(self, make_cell: MakeCell) -> None:
        frame = cells_frame(
            [make_cell(status=status, seed=i) for i, status in enumerate(["done", "failed", "skipped"])]
        )
        assert list(frame["status"]) == ["done", "failed", "skipped"]
        assert frame.loc[1, "error_message"] == "out of memory"
        assert pd.isna(frame.loc[1, "cost_seconds"])

    def test_recovery_by_hand(self, make_cell: MakeCell) -> None:
        cells = [make_cell("none", "none", 0.95), make_cell("lsp", "none", 0.15), make_cell("lsp", "dvae", 0.75)]
        assert cell_of(cells, "dvae")["recovery"] == pytest.approx(0.6 / 0.8)

    def test_recovery_needs_baseline_undefended_and_a_gap(self, make_cell: MakeCell) -> None:
        clean, poisoned, defended = (
            make_cell("none", "none", 0.9),
            make_cell("lsp", "none", 0.9),
            make_cell("lsp", "dvae"),
        )
        assert pd.isna(cell_of([poisoned, defended], "dvae")["recovery"])
        assert pd.isna(cell_of([clean, defended], "dvae")["recovery"])
        assert pd.isna(cell_of([clean, poisoned, defended], "dvae")["recovery"]), "the poison did no harm"

    def test_baselines_come_from_the_same_victim_and_seed(self, make_cell: MakeCell) -> None:
        others = [make_cell("lsp", "none", 0.2, victim="vgg"), make_cell("lsp", "none", 0.3, seed=1)]
        assert pd.isna(cell_of([*others, make_cell("lsp", "dvae")], "dvae")["undefended_accuracy"])

    def test_a_purifier_is_not_charged_for_training(self, make_cell: MakeCell) -> None:
        cell = cell_of([make_cell(train=100), make_cell("lsp", "dvae", purify=50, train=130)], "dvae")
        assert (cell["extra_train_seconds"], cell["cost_seconds"], cell["cost_multiple"]) == (0.0, 50.0, 1.5)

    def test_training_differently_is_charged_the_difference(self, make_cell: MakeCell) -> None:
        changed = make_cell("lsp", "at", purify=1, train=800, extra={"trains_differently": True})
        cell = cell_of([make_cell(train=100), changed], "at")
        assert (cell["extra_train_seconds"], cell["cost_seconds"], cell["cost_multiple"]) == (700.0, 701.0, 8.01)
        assert cell["cost_energy_joules"] == 100 * (1 + 700), "without evaluation, like the seconds"

    def test_training_on_another_device_is_not_compared(self, make_cell: MakeCell) -> None:
        changed = make_cell("lsp", "at", extra={"trains_differently": True}, device="Other GPU")
        cell = cell_of([make_cell(), changed], "at")
        assert pd.isna(cell["cost_seconds"])
        assert pd.isna(cell["cost_multiple"])

    def test_the_view_of_test_images_is_paid(self, make_cell: MakeCell) -> None:
        viewing = make_cell("lsp", "gray", purify=2, view=0.5, extra={"sees_test_images": True})
        assert cell_of([make_cell(), viewing], "gray")["cost_seconds"] == 2.5
        unmeasured = make_cell("lsp", "gray", purify=2, extra={"sees_test_images": True})
        assert pd.isna(cell_of([make_cell(), unmeasured], "gray")["cost_seconds"])

    def test_undefended_costs_nothing(self, make_cell: MakeCell) -> None:
        cell = cell_of([make_cell(purify=0.3)], "none")
        assert (cell["cost_seconds"], cell["cost_multiple"]) == (0.0, 1.0)

    def test_two_finished_cells_of_one_seed_are_refused(self, make_cell: MakeCell) -> None:
        with pytest.raises(UserError, match=r"one and two .*attack lsp, defense none, seed 0"):
            cells_frame([replace(make_cell(), key="one"), replace(make_cell(), key="two")])


class TestBoard:
    def test_aggregates_by_hand(self, matrix: list[CellResult]) -> None:
        row = board_of(matrix).loc["dvae"]
        assert row["mean_accuracy"] == pytest.approx(0.90)
        assert row["half_width_95"] == pytest.approx(4.302653 * 0.01 / 3**0.5, rel=1e-6)
        assert (row["worst_attack"], row["worst_accuracy"]) == ("ops", pytest.approx(0.89))
        assert row["clean_accuracy"] == pytest.approx(0.93)
        assert row["accuracy[lsp]"] == pytest.approx(0.91)
        assert row["recovery"] == pytest.approx((0.76 + 0.54) / (0.80 + 0.60))
        assert row["mean_without_one"] == pytest.approx(0.89), "without lsp"
        assert (row["cost_seconds"], row["cost_multiple"]) == (400.0, 5.0)
        assert (row["n"], row["seeds"], row["missing"], row["flags"]) == (6, 3, 0, "")

    def test_a_cost_is_the_median_of_the_cells_that_share_the_stage_with_its_range(self, make_cell: MakeCell) -> None:
        plain, trained = (100.0, 104.0, 130.0), (300.0, 310.0, 340.0)
        cells = [make_cell("lsp", "none", seed=seed, train=plain[seed]) for seed in range(3)]
        at = {"extra": {"trains_differently": True}}
        cells += [make_cell("lsp", "at", seed=s, purify=0, train=trained[s], **at) for s in range(3)]
        cells += [make_cell("lsp", "gray", seed=s, purify=(2.0, 1.0, 9.0)[s]) for s in range(3)]
        board = board_of(cells)
        names = ["cost_seconds", "cost_seconds_min", "cost_seconds_max"]
        assert board.loc["gray", names].tolist() == [2.0, 1.0, 9.0]
        assert board.loc["at", names].tolist() == [310 - 104, 300 - 130, 340 - 100]
        assert board.loc["at", "cost_multiple"] == pytest.approx(310 / 104)
        assert board.loc["at", "cost_energy_joules"] == pytest.approx(100 * (310 - 104))
        assert board.loc["none", names].tolist() == [0.0, 0.0, 0.0]
        assert board.loc["at", "purify_seconds"] == 0

    @pytest.mark.parametrize(("gray", "ranks"), [([0.20, 0.24, 0.33], [1, 1]), ([0.20, 0.24, 0.25], [2, 1])])
    def test_the_range_holds_the_repeats_of_a_cell_and_decides_ties(
        self, make_cell: MakeCell, gray: list[float], ranks: list[int]
    ) -> None:
        """One attack, one seed: 0.30 s (0.28 to 0.31 s) against 0.24 s, whose longest run is above or below 0.28 s."""
        cells = [make_cell("lsp", "none")]
        for name, runs in (("bdr", [0.28, 0.30, 0.31]), ("gray", gray)):
            cells.append(make_cell("lsp", name, purify=runs[1], repeats=runs))
        board = board_of(cells)
        names = ["cost_seconds", "cost_seconds_min", "cost_seconds_max"]
        assert board.loc["gray", names].tolist() == [gray[1], gray[0], gray[2]]
        assert board.loc[["bdr", "gray"], "cost_rank"].tolist() == ranks

    def test_a_first_run_that_works_for_the_others_is_flagged_and_not_ranked(self, make_ranked_cell: MakeCell) -> None:
        cells = [make_ranked_cell("lsp", name) for name in ("none", "even")]
        cells += [make_ranked_cell("lsp", "memo", purify=0.3, repeats=[0.3, 0.001, 0.001, 0.001, 0.001])]
        in_all = [make_ranked_cell("ops", name) for name in ("none", "even")]
        in_all += [replace(cells[-1], key="memo-ops", attack=in_all[0].attack, artifacts={"purify": "another"})]
        assert pd.isna(board_of(cells + in_all).loc["memo", "cost_rank"]), "every attack's first run worked for its own"
        board = board_of(cells)
        assert board.loc["memo", "flags"] == "uneven purification, first run slower than its repeats: lsp"
        assert board.loc[["even", "memo"], "cost_rank"].tolist() == [1, pd.NA]
        assert board.loc["memo", ["cost_seconds", "cost_seconds_min"]].tolist() == [0.3, 0.001]

    def test_a_long_purification_that_works_for_other_attacks_is_flagged(self, make_ranked_cell: MakeCell) -> None:
        cells = [make_ranked_cell(attack, name) for attack in ("none", "lsp", "ops") for name in ("none", "even")]
        cells = [replace(cell, clean_test_accuracy=0.9) if cell.attack.name == "none" else cell for cell in cells]
        for attack, seconds in (("none", 5.0), ("lsp", 0.01), ("ops", 0.01)):
            cell = make_ranked_cell(attack, "memo", 0.9, purify=seconds)
            cells.append(replace(cell, artifacts={**cell.artifacts, "purify": attack}))
        board = board_of(cells)
        assert (board.loc["memo", "flags"], board.loc["even", "flags"]) == ("uneven purification", "")
        assert board.loc["memo", "cost_seconds"] == 0.01
        assert pd.isna(board.loc["memo", "cost_rank"])

    def test_a_defense_that_trains_less_has_a_multiple_below_one(self, make_cell: MakeCell) -> None:
        shorter = make_cell("lsp", "short", purify=5, train=20, extra={"trains_differently": True})
        row = board_of([make_cell(train=100), shorter]).loc["short"]
        assert (row["cost_seconds"], row["cost_multiple"]) == (-75, 0.25)

    @pytest.mark.parametrize(("train", "known"), [(93, False), (107, True)])
    def test_a_cost_below_zero_that_is_not_exclusive_is_not_known(
        self, make_cell: MakeCell, train: float, known: bool
    ) -> None:
        """Other work slowed the undefended training: AT takes ten times as long."""
        at = make_cell("lsp", "at", purify=0, train=train, extra={"trains_differently": True}, exclusive=False)
        row = board_of([make_cell(train=100, exclusive=False), at]).loc["at"]
        names = ["cost_seconds", "cost_seconds_min", "cost_seconds_max", "cost_multiple", "extra_train_seconds"]
        assert row[names].notna().tolist() == [known] * 5
        assert "not exclusive" in row["flags"]
        assert row["purify_seconds"] == 0

    def test_every_attack_has_its_interval(self, matrix: list[CellResult]) -> None:
        row = board_of(matrix).loc["dvae"]
        assert row["half_width_95[lsp]"] == pytest.approx(4.302653 * 0.01 / 3**0.5, rel=1e-6)
        assert (row["purify_seconds"], row["extra_train_seconds"]) == (400.0, 0.0)

    def test_rows_of_a_preset_nobody_compared_are_flagged(self, make_cell: MakeCell) -> None:
        assert board_of([make_cell(preset="fast")]).loc["none", "flags"] == "provisional, unvalidated preset"

    def test_ranks_and_cost_ranks(self, matrix: list[CellResult]) -> None:
        board = board_of(matrix)
        assert board.loc[["dvae", "iss-jpeg", "iss-gray"], "rank"].tolist() == [1, 2, 3]
        assert board.loc[["dvae", "iss-jpeg", "iss-gray"], "cost_rank"].tolist() == [3, 2, 1]
        assert board.loc[["none"], ["rank", "cost_rank"]].isna().all(axis=None)

    def test_one_seed_has_no_interval(self, matrix: list[CellResult]) -> None:
        board = board_of([cell for cell in matrix if cell.seed == 0])
        assert board["half_width_95"].isna().all()
        assert board["mean_accuracy"].notna().all()

    @pytest.mark.parametrize("attack", ["lsp", "none"])
    def test_a_row_that_lacks_a_cell_has_no_mean_and_no_rank(self, matrix: list[CellResult], attack: str) -> None:
        row = board_of(without(matrix, attack, "dvae", 1)).loc["dvae"]
        assert row[COMPUTED].isna().all()
        assert (row["missing"], row["flags"]) == (1, "missing")
        assert row["accuracy[ops]"] == pytest.approx(0.89), "what is complete is still shown"

    def test_a_failed_cell_is_missing_until_a_later_attempt_succeeds(
        self, matrix: list[CellResult], make_cell: MakeCell
    ) -> None:
        failed = make_cell("lsp", "dvae", status="failed", seed=1)
        assert board_of([failed, *without(matrix, "lsp", "dvae", 1)]).loc["dvae", "flags"] == "missing, failed"
        assert board_of([failed, *matrix]).loc["dvae", "flags"] == ""

    @pytest.mark.parametrize(
        ("changes", "flag"),
        [
            ({"exclusive": False}, "not exclusive"),
            ({"exclusive": None}, "exclusivity unknown"),
            ({"logs": {"train": {"micro_batches": 4}}}, "batches in parts: lsp"),
        ],
    )
    def test_a_shared_device_and_batches_in_parts_give_no_cost_rank(
        self, matrix: list[CellResult], make_cell: MakeCell, changes: dict[str, Any], flag: str
    ) -> None:
        doubtful = make_cell("lsp", "dvae", 0.91, seed=1, purify=400.0, **changes)
        board = board_of([doubtful, *without(matrix, "lsp", "dvae", 1)])
        assert board.loc["dvae", "flags"] == flag
        assert pd.isna(board.loc["dvae", "cost_rank"])
        assert board.loc["dvae", "rank"] == 1
        assert board.loc["iss-jpeg", "cost_rank"] == 2

    @pytest.mark.parametrize(
        ("logs", "flag"),
        [
            ({"poison": {"converged": False}}, "attack not converged"),
            ({"train": {"catastrophic_overfitting": True}}, "catastrophic overfitting"),
            ({"train": {"catastrophic_overfitting": "not checked"}}, "overfitting not checked"),
            ({"poison": {"converged": True}, "train": {"catastrophic_overfitting": False, "converged": False}}, ""),
        ],
    )
    def test_what_the_logs_say_is_flagged(
        self, matrix: list[CellResult], make_cell: MakeCell, logs: dict[str, dict[str, bool]], flag: str
    ) -> None:
        cells = [make_cell("lsp", "dvae", 0.91, seed=1, purify=400.0, logs=logs), *without(matrix, "lsp", "dvae", 1)]
        frame = as_text(cells_frame(cells))
        assert sorted(set(frame["flags"])) == sorted({"", flag})
        board = board_of(cells)
        assert (board.loc["dvae", "flags"], board.loc["iss-jpeg", "flags"]) == (flag and f"{flag}: lsp", "")
        assert (board.loc["dvae", "rank"], board.loc["dvae", "cost_rank"]) == (1, 3), "a flag hides nothing"

    def test_the_clean_cell_is_one_of_those_whose_costs_are_shown(self, make_ranked_cell: MakeCell) -> None:
        """Clean data takes the same work, so a defense that works there alone is seen."""
        cells = [make_ranked_cell(attack, "none", train=100) for attack in ("none", "lsp", "ops")]
        cells = [replace(cell, clean_test_accuracy=0.9) if cell.attack.name == "none" else cell for cell in cells]
        cells += [
            make_ranked_cell(attack, "gray", 0.9, purify=s) for attack, s in (("none", 3.0), ("lsp", 1.0), ("ops", 2.5))
        ]
        row = board_of(cells).loc["gray"]
        assert row[["cost_seconds", "cost_seconds_min", "cost_seconds_max"]].tolist() == [2.5, 1.0, 3.0]
        assert row["cost_rank"] == 1
        doubtful = [replace(c, costs={s: replace(o, exclusive=False) for s, o in c.costs.items()}) for c in cells[3:4]]
        row = board_of(cells[:3] + doubtful + cells[4:]).loc["gray"]
        assert row["flags"] == "not exclusive"
        assert pd.isna(row["cost_rank"])

    def test_one_seed_ranks_no_finer_than_its_test_images_allow(self, make_ranked_cell: MakeCell) -> None:
        for gap, place in ((0.003, 1), (0.03, 2)):
            cells = [make_ranked_cell("lsp", d, a) for d, a in (("a", 0.9), ("b", 0.9 - gap), ("none", 0.1))]
            assert list(board_of(cells).loc[["a", "b"], "rank"]) == [1, place], "n = 10,000 leave 0.6 points"

    def test_seeds_that_agree_by_luck_rank_no_finer_either(self, make_ranked_cell: MakeCell) -> None:
        accuracies = {"a": 0.9, "b": 0.897, "c": 0.87, "none": 0.1}
        cells = [make_ranked_cell("lsp", name, value, seed=s) for name, value in accuracies.items() for s in range(3)]
        assert list(board_of(cells).loc[["a", "b", "c"], "rank"]) == [1, 1, 3]

    def test_costs_of_several_devices_are_not_ranked(self, matrix: list[CellResult], make_cell: MakeCell) -> None:
        other = make_cell("lsp", "dvae", 0.91, seed=1, device="Other GPU")
        board = board_of([other, *without(matrix, "lsp", "dvae", 1)])
        assert list(board.index[board["flags"].str.contains("several devices")]) == ["dvae"]
        assert board.index[board["cost_rank"].notna()].tolist() == ["iss-jpeg", "iss-gray"]

    def test_without_one_device_of_the_undefended_row_no_cost_is_ranked(
        self, matrix: list[CellResult], make_cell: MakeCell
    ) -> None:
        other = make_cell("lsp", "none", 0.16, seed=1, device="Other GPU")
        board = board_of([other, *without(matrix, "lsp", "none", 1)])
        assert board["flags"].str.contains("several devices").all()
        assert board["cost_rank"].isna().all()

    def test_a_cost_is_compared_with_the_undefended_training_of_its_own_device(self, make_cell: MakeCell) -> None:
        differently = {"trains_differently": True}
        cells = [make_cell(train=100), make_cell("lsp", "at", train=50, purify=0, extra=differently, device="Fast GPU")]
        (alone,) = cells_frame(cells).query("defense == 'at'").to_dict("records")
        assert pd.isna(alone["cost_seconds"]), "nothing to compare with: unknown"
        elsewhere = [make_cell(train=20, device="Fast GPU"), make_cell(train=1, device="Third GPU")]
        (merged,) = cells_frame(cells, elsewhere).query("defense == 'at'").to_dict("records")
        assert (merged["cost_seconds"], merged["cost_multiple"]) == (30, 2.5)
        assert merged["undefended_accuracy"] == 0.5, "of the cell that is shown"

    def test_data_of_another_digest_is_another_group(self, matrix: list[CellResult]) -> None:
        changed = [replace(c, key=f"{c.key}-b", dataset=c.dataset | {"digest": "other"}) for c in matrix]
        board = leaderboard_frame(cells_frame([*matrix, *changed]))
        assert board.groupby("dataset_digest")["n"].unique().map(list).tolist() == [[6], [6]]

    def test_parameters_make_a_row_of_their_own(self, matrix: list[CellResult], make_cell: MakeCell) -> None:
        strong = [make_cell(a, "dvae:kld=3", 0.5, seed=s) for a in ("none", "lsp", "ops") for s in range(3)]
        board = leaderboard_frame(cells_frame([*matrix, *strong]))
        assert set(board.loc[board["defense"] == "dvae", "defense_selection"]) == {"dvae", "dvae:kld=3"}

    def test_columns_are_documented_and_stable(self, matrix: list[CellResult]) -> None:
        board = leaderboard_frame(cells_frame(matrix))
        assert list(board.columns) == [
            *BOARD_COLUMNS,
            *("accuracy[lsp]", "accuracy[ops]", "half_width_95[lsp]", "half_width_95[ops]"),
        ]
        assert list(board["defense"]) == ["dvae", "iss-jpeg", "iss-gray", "iss (best per attack)", "none"]
