"""Rows best per attack, against values computed by hand from the matrix in conftest.py."""

from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest

from bench.store.results import CellResult
from leaderboard.published.pairs import pairs_of
from leaderboard.tables.columns import as_text
from leaderboard.tables.table import cells_frame, frames_of, leaderboard_frame
from tests.leaderboard.tables.boards import board_of, without

MakeCell = Callable[..., CellResult]
MEMBERS = "oracle: iss-gray and iss-jpeg"


class TestFamily:
    def test_best_member_per_attack_by_hand(self, matrix: list[CellResult]) -> None:
        row = board_of(matrix).loc["iss (best per attack)"]
        assert row["accuracy[lsp]"] == pytest.approx(0.85), "gray"
        assert row["accuracy[ops]"] == pytest.approx(0.81), "jpeg"
        assert row["mean_accuracy"] == pytest.approx(0.83)
        assert row["recovery"] == pytest.approx((0.70 + 0.46) / (0.80 + 0.60))

    def test_its_flags_are_those_of_its_own_accuracies(self, matrix: list[CellResult]) -> None:
        gray = {"none": 0.80, "lsp": 0.85, "ops": 0.45}
        cells = [
            replace(c, clean_test_accuracy=gray[c.attack.name] + (0.3 * c.seed if c.attack.name == "ops" else 0))
            if c.defense.name == "iss-gray"
            else c
            for c in matrix
        ]
        board = board_of(cells)
        assert board.loc["iss-gray", "flags"] == "varies over seeds: ops, clean accuracy lost"
        assert board.loc["iss (best per attack)", "flags"] == MEMBERS, "it has JPEG on clean data and against ops"

    def test_a_setting_is_judged_on_the_attack_that_did_not_choose_it(self, matrix: list[CellResult]) -> None:
        """`ops` chooses JPEG, which has 83 % against lsp; `lsp` chooses gray, which has 45 % against ops."""
        board = board_of(matrix)
        row = board.loc["iss (best per attack)"]
        assert row["held_out_mean"] == pytest.approx((0.83 + 0.45) / 2)
        assert row["held_out_worst"] == pytest.approx(0.45)
        assert row["seconds_per_point"] == pytest.approx(4.2 / (83 - 25)), "the cost of both members"
        assert board.loc[["dvae", "iss-gray", "none"], ["held_out_mean", "held_out_worst"]].isna().all(axis=None)
        one = board_of([cell for cell in matrix if cell.attack.name != "ops"]).loc["iss (best per attack)"]
        assert pd.isna(one["held_out_mean"]), "no other attack to choose with"

    def test_an_attack_is_left_out_with_all_its_settings(self, make_ranked_cell: MakeCell) -> None:
        """EM alone chooses jpeg:quality=10, the other attacks jpeg:quality=90; two settings of EM must not help it."""
        accuracies = {
            "none": (0.95, 0.1, 0.1, 0.1, 0.1),
            "jpeg:quality=10": (0.9, 0.9, 0.9, 0.5, 0.5),
            "jpeg:quality=90": (0.9, 0.1, 0.1, 0.7, 0.7),
        }
        attacks = ("none", "em", "em:poison_rate=0.8", "lsp", "ops")
        cells = [
            make_ranked_cell(attack, name, accuracy)
            for name, of_name in accuracies.items()
            for attack, accuracy in zip(attacks, of_name, strict=True)
        ]
        board = as_text(leaderboard_frame(cells_frame(cells))).set_index("defense_selection")
        row = board.loc["jpeg (best per attack)"]
        assert row["held_out_worst"] == pytest.approx(0.1), "for EM the others choose 90"
        assert row["held_out_mean"] == pytest.approx((0.1 + 0.1 + 0.5 + 0.5) / 4), "for the others EM's two choose 10"
        assert board.loc["jpeg:quality=10", "mean_without_one"] == pytest.approx(0.5), "without both settings of EM"

    def test_every_poison_from_a_file_is_an_attack(self, make_ranked_cell: MakeCell) -> None:
        files = {"from-file:path=a": 0.5, "from-file:path=b": 0.7}
        cells = [make_ranked_cell(attack, "none", accuracy) for attack, accuracy in files.items()]
        assert board_of(cells).loc["none", "mean_without_one"] == pytest.approx(0.5)

    def test_several_settings_of_a_defense_are_a_family(self, matrix: list[CellResult], make_cell: MakeCell) -> None:
        accuracies = {"jpeg": (0.9, 0.5, 0.6), "jpeg:quality=30": (0.9, 0.4, 0.7)}
        sweep = [
            make_cell(attack, name, values[place], seed=seed)
            for name, values in accuracies.items()
            for place, attack in enumerate(("none", "lsp", "ops"))
            for seed in range(3)
        ]
        board = board_of([*matrix, *sweep])
        row = board.loc["jpeg (best per attack)"]
        assert (row["family"], row["flags"]) == ("jpeg", "oracle")
        assert row["mean_accuracy"] == pytest.approx((0.5 + 0.7) / 2)
        assert row["held_out_mean"] == pytest.approx((0.4 + 0.6) / 2), "each attack chooses the other's"
        assert "dvae (best per attack)" not in board.index
        frames = frames_of([*matrix, *sweep])
        pairs = pairs_of(frames.cells, frames.board)
        (of_row,) = [p for p, n in zip(pairs, frames.board["defense"], strict=True) if n == row.name]
        assert of_row["ops"].keys[0] == "cifar10-paper-ops-jpeg:quality=30-resnet18-0-done"

    def test_other_settings_of_its_members_are_no_part_of_it(self, matrix: list[CellResult]) -> None:
        """JPEG at other qualities is better against every attack; ISS is gray and JPEG-10."""
        swept = [
            replace(
                cell,
                key=f"{cell.key}-{quality}",
                defense=replace(
                    cell.defense,
                    text=f"iss-jpeg:quality={quality}",
                    parameters=cell.defense.parameters | {"quality": quality},
                ),
                clean_test_accuracy=0.9 + quality / 1000,
            )
            for cell in matrix
            if cell.defense.name == "iss-jpeg"
            for quality in (30, 50, 70)
        ]
        before, after = board_of(matrix), as_text(frames_of([*matrix, *swept]).board).set_index("defense_selection")
        name = "iss (best per attack)"
        assert after.loc["iss-jpeg:quality=70", "rank"] == 1
        assert list(after.index[after["flags"].str.contains("oracle")]) == [name]
        group = ["envelope_accuracy", "envelope_defense", "envelope_settings"]
        pd.testing.assert_series_equal(
            after.loc[name].drop(["defense", *group]), before.loc[name].drop(["defense_selection", *group])
        )
        two = board_of([cell for cell in (*matrix, *swept) if cell.defense.text != "iss-gray"])
        assert name not in two.index, "JPEG-10 alone is left"

    def test_it_costs_what_all_members_cost(self, matrix: list[CellResult]) -> None:
        row = board_of(matrix).loc["iss (best per attack)"]
        assert row["cost_seconds"] == pytest.approx(4.2)
        assert row["cost_multiple"] == pytest.approx(1.042)
        assert row["cost_energy_joules"] == pytest.approx(420)

    def test_its_choice_takes_all_purifications_and_trainings(self, matrix: list[CellResult]) -> None:
        """Two settings, three attacks (clean data too), three seeds; JPEG's purifications are one for all seeds."""
        cells = [
            replace(c, artifacts={"purify": f"{c.defense.name}-{c.attack.name}" + f"-{c.seed}" * ("gray" in c.key)})
            for c in matrix
        ]
        board = board_of(cells)
        trainings = 2 * 3 * 3 * 100
        assert board.loc["iss (best per attack)", "tuning_seconds"] == pytest.approx(trainings + 9 * 0.2 + 3 * 4.0)
        assert board.drop("iss (best per attack)")["tuning_seconds"].isna().all(), "chosen by nobody"
        unmeasured = [replace(c, costs={}) if c.defense.name == "iss-gray" and c.seed == 2 else c for c in cells]
        assert board_of(unmeasured)["tuning_seconds"].isna().all()

    def test_an_oracle_is_never_ranked(self, matrix: list[CellResult]) -> None:
        perfect = [replace(c, clean_test_accuracy=0.99) if c.defense.family else c for c in matrix]
        row = board_of(perfect).loc["iss (best per attack)"]
        assert row["flags"] == MEMBERS
        assert row[["rank", "cost_rank"]].isna().all()

    def test_it_needs_two_complete_members(self, matrix: list[CellResult]) -> None:
        assert "iss (best per attack)" not in board_of([c for c in matrix if c.defense.name != "iss-gray"]).index
        assert "iss (best per attack)" not in board_of(without(matrix, "lsp", "iss-gray", 1)).index
