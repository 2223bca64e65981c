"""`fast` against `paper`: the rule, at its limits and beyond them."""

import pytest

from gpu import acceptance, report

VALUES = {"clean_test_accuracy": 0.90, "residual_poison_ratio": 0.20, "purified_psnr_db": 28.0}


def slices_of(attacks=acceptance.ATTACKS, seeds=3, scale="full", poison=("p", "p"), defense="dvae", **changed):
    """`paper` and `fast` with the same values but for `changed`, by which `fast` differs on TAP."""
    found = {}
    for attack in attacks:
        for seed in range(seeds):
            for preset, key in zip(("paper", "fast"), poison, strict=True):
                values = {n: v + changed.get(n, 0) * (preset == "fast" and attack == "tap") for n, v in VALUES.items()}
                cell = {
                    "status": "done",
                    "preset": preset,
                    "attack": attack,
                    "defense": defense,
                    "seed": seed,
                    **values,
                }
                cell["artifacts"] = {"poison": f"{key}-{attack}-{seed}"}
                found[f"{preset}/{attack}/{defense}/{seed}"] = {"asked": {"scale": scale}, "cells": [cell]}
    return found


def verdict(defense="dvae", **options):
    return acceptance.verdict(defense, acceptance.pairs(slices_of(**options)))


@pytest.mark.parametrize(
    ("name", "limit"), [("clean_test_accuracy", 0.01), ("residual_poison_ratio", 0.05), ("purified_psnr_db", 0.5)]
)
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_limits(name, limit, sign):
    assert verdict(**{name: sign * limit}) == "accepted"
    assert verdict(**{name: sign * limit * 1.01}) == "not accepted (tap)"


def test_what_is_missing_is_not_measured():
    assert verdict(seeds=2) == "not measured: fewer than 3 seeds of none, em, tap, lsp, ops"
    assert verdict(attacks=("none", "em", "tap", "lsp")) == "not measured: fewer than 3 seeds of ops"
    assert verdict(attacks=("tap",), clean_test_accuracy=-0.3) == "not accepted (tap)", "no seed can change it"


def test_toy_sizes_and_other_poisons_count_for_nothing():
    assert verdict(scale="toy").startswith("not measured")
    assert verdict(poison=("p", "q")).startswith("not measured")


def test_the_rule_is_about_means_over_seeds():
    slices = slices_of()
    for seed, change in enumerate((-0.03, 0.0, 0.03)):
        slices[f"fast/em/dvae/{seed}"]["cells"][0]["clean_test_accuracy"] += change
    assert acceptance.verdict("dvae", acceptance.pairs(slices)) == "accepted"


def test_a_value_that_one_alone_has_is_outside():
    """An undefended clean set has no PSNR: neither has one, and nothing is judged by it."""
    slices = slices_of()
    for name in ("paper/none/dvae", "fast/none/dvae"):
        for seed in range(3):
            slices[f"{name}/{seed}"]["cells"][0]["purified_psnr_db"] = None
    assert acceptance.verdict("dvae", acceptance.pairs(slices)) == "accepted"
    for seed in range(3):
        slices[f"paper/none/dvae/{seed}"]["cells"][0]["purified_psnr_db"] = 28.0
    assert acceptance.verdict("dvae", acceptance.pairs(slices)) == "not accepted (none)"


def test_the_table_says_both_accuracies_and_every_difference():
    slices = slices_of(clean_test_accuracy=-0.02, residual_poison_ratio=0.03, purified_psnr_db=-0.25)
    shown = report._acceptance(slices)
    assert "| dvae | tap | 90.0 | 88.0 | -2.00 | +0.030 | -0.25 | outside |" in shown
    assert "| dvae | em | 90.0 | 90.0 | +0.00 | +0.000 | +0.00 | within |" in shown
    assert "- dvae: not accepted (tap)\n" in shown
    assert "- victim, undefended: not measured" in shown
    assert "is not validated by this, nor is `at`" in shown
