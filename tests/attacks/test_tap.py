import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from attacks.tap import Tap, _statistics
from bench.api import Budget, DataInfo, ImageSet, Recipe
from bench.errors import UserError
from bench.stages.crafting import craft
from bench.training import Batches, TrainingDivergedError, fit, lr_factor, predict, to_float
from bench.training import cross_entropy as plain_loss
from bench.training.moves import Moves, draw_shifts, shift
from bench.training.surrogates import Sweep, crafting
from bench.training.surrogates.crafting import Passes
from bench.training.surrogates.networks import build_surrogate

EPS = 8 / 255


def _quick(**changes: object) -> Tap:
    settings = {
        "steps": 8,
        "step_size": 2 / 255,
        "restarts": 1,
        "shift": 0.0,
        "flip": False,
        "surrogate_epochs": 12,
        "schedule": "one-cycle",
        "batch_size": 30,
        "surrogate": "s-net",
    }
    return Tap(**{**settings, **changes})


def _difference(poisoned: ImageSet, train: ImageSet) -> Tensor:
    return poisoned.images.to(torch.int16) - train.images.to(torch.int16)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_targets_are_a_permutation_without_fixed_points(classes: int) -> None:
    targets = Tap()._targets(torch.arange(classes), classes)
    assert sorted(targets.tolist()) == list(range(classes))
    assert (targets != torch.arange(classes)).all()


def test_images_become_the_next_class_to_the_surrogate(learnable_set, make_context, separability) -> None:
    train, ctx = learnable_set(count=240), make_context()
    before = train.images.clone()
    poisoned = _quick().poison(train, ctx)
    difference = _difference(poisoned, train)
    assert difference.abs().max() == 8
    assert 0.3 < (difference < 0).double().mean() / (difference != 0).double().mean() < 0.7
    assert ctx.logs["target_success"] >= 0.9
    assert ctx.logs["surrogate_poison_accuracy"] < 0.05
    assert ctx.logs["surrogate_clean_accuracy"] > 0.9
    assert separability(poisoned, train) >= 0.95
    assert ctx.logs["converged"] is True
    assert torch.equal(train.images, before)
    assert torch.equal(poisoned.labels, train.labels)


def test_untargeted_images_lose_their_class(learnable_set, make_context) -> None:
    ctx = make_context()
    _quick(targeted=False).poison(learnable_set(), ctx)
    assert ctx.logs["surrogate_poison_accuracy"] < 0.05
    assert ctx.logs["target_success"] == pytest.approx(1 - ctx.logs["surrogate_poison_accuracy"])


def test_a_victim_takes_clean_images_for_the_class_before(learnable_set, make_context) -> None:
    train, ctx = learnable_set(count=400, pattern_levels=1.5, noise_levels=10), make_context(scope="victim")
    poisoned = _quick().poison(train, make_context())
    victim = build_surrogate("s-net", train.info, ctx)
    batches = Batches(poisoned, ctx.device, 30, ctx.generator("batch-order"))
    fit(victim, batches, plain_loss(victim), Recipe(epochs=12, lr=0.1, schedule="one-cycle"), ctx)
    found = predict(victim, train.images, ctx.device)
    assert (found == train.labels).double().mean() < 0.35
    assert (found == (train.labels - 1) % 4).double().mean() > 0.4


def test_with_moves_the_images_still_reach_their_target(learnable_set, make_context) -> None:
    ctx = make_context()
    _quick(shift=1.0, flip=True, steps=12, surrogate_epochs=25).poison(learnable_set(), ctx)
    assert ctx.logs["target_success"] >= 0.9


def test_the_schedule_is_the_authors() -> None:
    recipe = Tap()._recipe
    assert recipe.milestones == (14, 24, 35)
    factors = [lr_factor(recipe, epoch, 1) for epoch in (13, 14, 23, 24, 34, 35)]
    assert factors == pytest.approx([1, 0.1, 0.1, 0.01, 0.01, 0.001])
    assert (recipe.nesterov, recipe.momentum, recipe.weight_decay, recipe.clip_grad_norm) == (True, 0.9, 5e-4, None)


@pytest.mark.parametrize("eps", [8, 16])
def test_steps_are_the_authors_and_scale_with_the_radius(learnable_set, make_context, monkeypatch, eps: int) -> None:
    steps: list[float] = []

    def step(self: Sweep, delta: Tensor, moves: object, measure: bool) -> float:
        steps.append(255 * self.step_size)
        return 0.0

    monkeypatch.setattr(Sweep, "step", step)
    Tap(eps / 255, surrogate="s-net", surrogate_epochs=1).poison(learnable_set(count=8), make_context())
    assert steps == pytest.approx([eps / 20] * 250 * 8)
    steps.clear()
    few = Tap(eps / 255, surrogate="s-net", surrogate_epochs=1, steps=8, restarts=1)
    few.poison(learnable_set(count=8), make_context())
    assert steps == pytest.approx([eps / 4] * 8)


def test_statistics_equal_the_obvious_ones(learnable_set) -> None:
    train = learnable_set()
    train.images[:, 2] = 7
    mean, std = _statistics(train)
    images = train.images.double() / 255
    assert torch.allclose(mean.double(), images.mean((0, 2, 3)), atol=1e-6)
    assert torch.allclose(std[:2].double(), images.std((0, 2, 3), correction=0)[:2], atol=1e-6)
    assert std[2] == 1, "constant"


@pytest.fixture
def sweep(learnable_set, make_context) -> Sweep:
    train, ctx = learnable_set(count=40), make_context()
    model = build_surrogate("s-net", train.info, ctx)
    model[-1].weight.data.mul_(50)  # so that its logits differ from image to image
    fill = torch.full((3,), 0.4)
    return Sweep(model, train, train.labels, "minimize", Budget("linf", EPS), 1 / 255, fill, ctx.device, Passes())


def test_the_start_is_gaussian_with_a_third_at_the_bound(sweep) -> None:
    sweep.train.images[0], sweep.train.images[1] = 0, 255
    delta = sweep.start(torch.Generator().manual_seed(0))
    assert delta.abs().max() <= EPS + 1e-6
    assert (delta[2:].abs() > EPS - 1e-6).double().mean() == pytest.approx(0.317, abs=0.01)
    assert delta[0].min() >= 0
    assert delta[1].max() <= 0
    assert (delta[2:] < 0).double().mean() == pytest.approx(0.5, abs=0.01)


def test_a_step_is_one_signed_gradient_through_the_moves(sweep) -> None:
    delta = sweep.start(torch.Generator().manual_seed(0))
    moves = draw_shifts(40, 2.0, True, torch.Generator().manual_seed(1))
    images = to_float(sweep.train.images)
    noise = delta.clone().requires_grad_()
    loss = cross_entropy(sweep.surrogate.eval()(shift(images + noise, moves, sweep.fill)), sweep.train.labels)
    (gradient,) = torch.autograd.grad(loss, noise)
    expected = (noise - gradient.sign() / 255).clamp(-EPS, EPS).detach()
    measured = sweep.step(delta, moves, measure=True)
    assert measured == pytest.approx(float(loss.detach()), rel=1e-4), "before the step, on the same moves"
    assert (delta - expected).abs().gt(1e-5).double().mean() < 0.01


def test_a_step_never_waits_for_the_device(sweep, no_reading) -> None:
    delta = sweep.start(torch.Generator().manual_seed(0))
    moves = draw_shifts(40, 2.0, True, torch.Generator().manual_seed(1))
    with no_reading():
        sweep.step(delta, moves, measure=False)


def test_the_chunk_size_does_not_matter(sweep, monkeypatch) -> None:
    moves = draw_shifts(40, 2.0, True, torch.Generator().manual_seed(1))
    found = []
    for chunk in (40, 7):
        monkeypatch.setattr(crafting, "_ENTRIES_AT_ONCE", {"cpu": chunk * 768})
        found.append(sweep.start(torch.Generator().manual_seed(0)))
        sweep.step(found[-1], moves, measure=False)
    assert (found[0] - found[1]).abs().gt(1e-5).double().mean() < 0.01


@pytest.mark.parametrize(("targeted", "best"), [(True, 1), (False, 2)])
def test_the_restart_with_the_best_loss_is_kept(learnable_set, make_context, monkeypatch, targeted, best) -> None:
    losses, steps = [0.5, 0.2, 0.7], []

    def step(self: Sweep, delta: Tensor, moves: object, measure: bool) -> float:
        steps.append(measure)
        restart = (len(steps) - 1) // 2
        delta.fill_((restart + 1) / 255)
        return losses[restart] if measure else 0.0

    monkeypatch.setattr(Sweep, "step", step)
    train, ctx = learnable_set(), make_context()
    poisoned = _quick(restarts=3, steps=2, surrogate_epochs=1, targeted=targeted).poison(train, ctx)
    assert (_difference(poisoned, train) == best + 1).all()
    assert ctx.logs["restart_losses"] == losses
    assert steps == [False, True] * 3, "the loss of the last sweep counts"


def test_restarts_differ(learnable_set, make_context) -> None:
    ctx = make_context()
    _quick(restarts=2, steps=2, surrogate_epochs=1).poison(learnable_set(), ctx)
    assert len(set(ctx.logs["restart_losses"])) == 2


def test_passes_are_counted_and_limited(learnable_set, make_context) -> None:
    free, limited = make_context(), make_context()
    _quick(restarts=2, steps=3, surrogate_epochs=2).poison(learnable_set(), free)
    assert [free.logs[f"passes_{kind}"] for kind in ("training", "gradient", "forward")] == [240, 720, 240]
    assert free.logs["converged"] is True
    _quick(restarts=2, steps=3, surrogate_epochs=2, max_passes=400).poison(learnable_set(), limited)
    assert limited.logs["passes_gradient"] == 360
    assert (len(limited.logs["restart_losses"]), limited.logs["converged"]) == (1, False)


def test_a_time_limit_leaves_one_step(learnable_set, make_context) -> None:
    ctx = make_context()
    _quick(surrogate_epochs=1, restarts=3, max_seconds=1e-9).poison(learnable_set(), ctx)
    assert (ctx.logs["passes_gradient"], ctx.logs["converged"]) == (120, False)


def test_the_seed_decides(learnable_set, make_context) -> None:
    train, attack = learnable_set(count=50), _quick(surrogate_epochs=2, shift=2.0, flip=True)
    one, again, other = (attack.poison(train, make_context(seed)).images for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_part_is_crafted_as_it_is_in_the_whole(learnable_set, make_context) -> None:
    train = learnable_set()
    whole = _quick().poison(train, make_context()).images
    part, mask = craft(_quick(poison_rate=0.5), train, make_context())
    assert mask.sum() == 60
    assert torch.equal(part.images[mask], whole[mask]), "the surrogate saw all clean images"
    assert torch.equal(part.images[~mask], train.images[~mask])


@pytest.mark.parametrize(("side", "given", "pixels"), [(32, None, 4), (64, None, 8), (224, None, 28), (64, 3.0, 3)])
def test_the_shift_grows_with_the_image_unless_it_is_given(make_context, monkeypatch, side, given, pixels) -> None:
    drawn = []

    def noted(count: int, largest: float, *rest: object) -> Moves:
        drawn.append(largest)
        return draw_shifts(count, largest, *rest)

    monkeypatch.setattr("attacks.tap.draw_shifts", noted)
    images = torch.randint(256, (2, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    train = ImageSet(images, torch.arange(2), DataInfo("two", 2, (3, side, side)))
    _quick(shift=given, surrogate_epochs=1, steps=1, restarts=1).poison(train, make_context())
    assert len(drawn) >= 2, "in the surrogate's training and while crafting"
    assert set(drawn) == {pixels}


def test_odd_sizes_two_unbalanced_classes_and_saturated_images(learnable_set, make_context) -> None:
    train = learnable_set(41, 2, shape=(1, 9, 14), labels=torch.tensor([0] * 37 + [1] * 4))
    train.images[:3], train.images[3:6] = 0, 255
    attack = _quick(surrogate_epochs=2, batch_size=40, shift=2.0, flip=True)  # the last batch would be one image
    difference = _difference(attack.poison(train, make_context()), train)
    assert difference[:3].min() >= 0
    assert difference[3:6].max() <= 0
    assert 0 < difference.abs().max() <= 8


def test_a_diverging_surrogate_is_named(learnable_set, make_context) -> None:
    with pytest.raises(TrainingDivergedError, match=r"became nan in epoch \d.*lower lr"):
        _quick(lr=1e30).poison(learnable_set(), make_context())


def test_a_loss_that_is_not_finite_while_crafting_is_named(learnable_set, make_context, monkeypatch) -> None:
    losses = iter([1.0, math.nan])
    monkeypatch.setattr(Sweep, "step", lambda self, delta, moves, measure: next(losses))
    with pytest.raises(TrainingDivergedError, match="became nan while crafting, start 2; lower lr or surrogate_epochs"):
        _quick(steps=1, restarts=2, surrogate_epochs=1).poison(learnable_set(), make_context())


def test_one_class_is_refused(learnable_set, make_context) -> None:
    with pytest.raises(UserError, match=r"at least 2 classes.*craft_on=all"):
        _quick().poison(learnable_set(labels=torch.zeros(120, dtype=torch.int64)), make_context())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eps": -0.1}, "eps is an L-inf radius"),
        ({"batch_size": 1}, "batch_size must be at least 2 images, got 1"),
        ({"surrogate": "rn18"}, "unknown surrogate 'rn18'"),
        ({"steps": 0}, "steps"),
        ({"restarts": 0}, "restarts"),
        ({"shift": -1.0}, "shift must be"),
        ({"shift": float("nan")}, "shift must be"),
        ({"schedule": "cosine"}, "multistep or one-cycle"),
        ({"surrogate_epochs": 0}, "surrogate_epochs"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tap(**settings)
