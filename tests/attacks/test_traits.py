"""The table of traits agrees with what the attacks are and do."""

import pytest

from attacks.traits import _TABLE
from bench.check.component import quick_defaults
from bench.cli.methods import methods
from bench.plan.describe import describe
from bench.registry import attacks, defenses
from bench.select.spec import select
from bench.stages.crafting import craft

COMPLETE = set(_TABLE) - {"adaptive", "from-file"}
"""Attacks that need no parameter."""


def test_every_attack_that_crafts_has_traits() -> None:
    assert set(attacks) - set(_TABLE) == {"none"}
    assert set(_TABLE) <= set(attacks)


@pytest.mark.parametrize("text", [*sorted(COMPLETE), "adaptive:base=em:through=iss-gray"])
def test_traits_are_true(text: str, learnable_set, make_context) -> None:
    (selected,) = select(attacks, text, quick_defaults("attacks"))
    attack, traits = selected.component, attacks.traits(selected.name)
    assert traits.bounded == (attack.budget.norm != "none")
    work = attack.work(learnable_set().info, 100)
    assert work is None or traits.surrogate == (work.network is not None)
    assert traits.against in ("", *defenses, "the defense in through")

    train = learnable_set(count=40, noise_levels=0)  # all images of a class are the same one
    poisoned, _ = craft(attack, train, make_context())
    alike = all(len(poisoned.images[train.labels == label].flatten(1).unique(dim=0)) == 1 for label in range(4))
    assert alike or traits.noise == "sample-wise"


def test_a_cell_and_the_method_page_hold_the_words() -> None:
    (cuda,) = select(attacks, "cuda")
    words = ("class-wise", "unbounded", "surrogate-free")
    assert describe(cuda).extra["traits"] == list(words)
    found = {method.name: (method.traits, method.against) for method in methods() if method.kind == "attack"}
    assert (found["cuda"], found["none"]) == ((words, "at"), ((), ""))
    assert found["adaptive"] == (("sample-wise", "bounded", "surrogate"), "the defense in through")
    assert found["from-file"] == (("any noise", "any bound", "any surrogate"), "")


def test_words_select_all_attacks_that_have_them() -> None:
    chosen = {selected.name for selected in select(attacks, "class-wise")}
    assert chosen == {"ops", "cuda", "class-random", "regions", "patches", "class-color"}
    assert [selected.name for selected in select(attacks, "unbounded")] == ["cuda"]
    both = {selected.name for selected in select(attacks, "surrogate,surrogate-free")}
    assert both == COMPLETE, "a word selects nothing that needs a parameter"
    on_a_model = {selected.name for selected in select(attacks, "surrogate")}
    assert on_a_model == {"em", "rem", "tap", "hypo", "sep", "dc", "ntga", "pil"}, "NTGA's model has a closed form"


def test_no_word_is_the_name_of_a_component() -> None:
    assert not set(attacks.groups()) & set(attacks)
