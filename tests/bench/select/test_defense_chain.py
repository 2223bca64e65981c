"""Chains of defenses: one purification after the other, composed views, one training at most."""

import pytest
import torch

from bench.api import Differentiable, Recipe
from bench.check.contracts import CONTRACTS, checks_of
from bench.errors import UserError
from bench.plan.describe import faces
from bench.registry import defenses
from bench.run.python import run_matrix
from bench.select.spec import select
from bench.stages.made import anew


def chosen(text):
    return select(defenses, text)[0]


def purified(text, images, ctx):
    return chosen(text).component.purify(images, ctx)


def test_parts_purify_in_order_as_they_do_alone(tiny, make_context):
    gray = purified("iss-gray", tiny.train, make_context())
    expected = purified("jpeg:quality=30", gray, make_context())
    ctx = make_context(0, "iss-gray+jpeg")
    result = purified("iss-gray+jpeg:quality=30", tiny.train, ctx)
    assert torch.equal(result.images, expected.images)
    other = purified("jpeg:quality=30+iss-gray", tiny.train, make_context())
    assert not torch.equal(result.images, other.images), "the order counts"


def test_parts_draw_and_log_as_alone(tiny, make_context):
    alone, ctx = make_context(3, "op"), make_context(3, "op+median")
    expected = purified("median", purified("op:epochs=1", tiny.train, alone), make_context())
    assert torch.equal(purified("op:epochs=1+median", tiny.train, ctx).images, expected.images)
    assert {f"op.{name}": value for name, value in alone.logs.items()} == ctx.logs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("iss-gray+jpeg", {"purifies"}),
        ("iss-gray+jpeg:test_view=true", {"purifies", "sees_test_images"}),
        ("jpeg+cutout", {"purifies", "trains_differently"}),
        ("jpeg+at", {"purifies", "trains_differently", "changes_recipe"}),
    ],
)
def test_a_chain_has_the_faces_of_its_parts(text, expected):
    component = chosen(text).component
    for chain in (component, anew(component)):
        assert {face for face, there in faces(chain).items() if there} == expected


def test_views_are_composed(tiny):
    images = tiny.test.images
    gray, jpeg = (chosen(f"{name}:test_view=true").component for name in ("iss-gray", "jpeg"))
    both = chosen("iss-gray:test_view=true+jpeg:test_view=true").component
    assert torch.equal(both.view(images), jpeg.view(gray.view(images)))
    assert torch.equal(chosen("iss-gray+jpeg:test_view=true").component.view(images), jpeg.view(images))


def test_a_chain_has_gradients_if_every_part_has(tiny):
    images_01 = tiny.test.images.float() / 255
    gray, jpeg = (chosen(name).component for name in ("iss-gray", "jpeg"))
    seen = chosen("iss-gray+jpeg").component.differentiable(images_01)
    assert torch.equal(seen, jpeg.differentiable(gray.differentiable(images_01)))
    assert not isinstance(chosen("iss-gray+wavelet").component, Differentiable)
    assert not isinstance(chosen("jpeg+at").component, Differentiable)


def test_the_last_part_acts_in_the_training():
    at = chosen("at:steps=3").component
    chain = chosen("jpeg+at:steps=3").component
    assert chain.change_recipe(Recipe()) == at.change_recipe(Recipe())
    assert chain.step_passes == at.step_passes


def test_texts_and_parameters():
    chain = chosen("iss-gray + jpeg:30")
    assert chain.text == "iss-gray+jpeg:quality=30"
    assert chain.parameters == {"iss-gray.test_view": False, "jpeg.quality": 30, "jpeg.test_view": False}
    assert chosen(chain.full_text).text == chain.text
    assert chain.entry.deterministic
    assert not chosen("jpeg+at").entry.deterministic
    assert not chain.entry.family


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jpeg+", r"defense 'jpeg\+': a '\+' needs a name on both sides"),
        ("none+jpeg", "none changes nothing"),
        ("jpeg+jpeg:quality=30", "names jpeg twice"),
        ("at+jpeg", "at acts while the victim trains, so only the last part of a chain can be at"),
        ("iss+jpeg", "'iss' is several"),
        ("jpeg+jpg", "unknown defense 'jpg'; did you mean jpeg"),
        ("jpeg:quality=0+iss-gray", "quality must be in 1..100"),
    ],
)
def test_bad_chains(text, message):
    with pytest.raises(UserError, match=message):
        select(defenses, text)


@pytest.mark.parametrize("text", ["iss-gray+jpeg:test_view=true", "jpeg+cutout"])
def test_a_chain_keeps_the_contracts(text):
    from bench.check.component import tiny

    checks = checks_of("defenses", chosen(text))
    assert len(checks) > 6
    for check in checks:
        if check is not CONTRACTS["defenses"][0].check:  # fresh processes, for each part
            check(chosen(text), tiny())


def test_a_chain_is_run_and_charged_as_one_purification(tmp_path):
    frame = run_matrix(
        "ops",
        "iss-gray,iss-gray+jpeg:quality=30",
        "linear",
        preset="demo",
        dataset="shapes:train=96:test=32",
        store=tmp_path / "s",
    )
    row = frame[(frame.attack == "ops") & (frame.defense == "iss-gray+jpeg")].iloc[0]
    assert row.defense_selection == "iss-gray+jpeg:quality=30"
    assert row.status == "done"
    assert not row.family
    assert row.purify_seconds > 0
