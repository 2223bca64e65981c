"""What the surrogates of EM, REM and TAP see while they train, and how their weights move."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from attacks import em, rem, tap
from attacks.em.noise import SampleNoise
from attacks.rem.min_max import Players
from bench.training import Stepper, to_float
from bench.training.surrogates.networks import build_surrogate

QUICK_REM = {
    "surrogate": "s-net",
    "batch_size": 40,
    "lr": 0.05,
    "steps": 2,
    "step_size": 6 / 255,
    "attacker_steps": 2,
    "attacker_step_size": 0.5 / 255,
    "samples": 1,
}
QUICK_TAP = {"surrogate": "s-net", "batch_size": 20, "steps": 2, "restarts": 1}


@dataclass
class Surrogate:
    """One that an attack built, its first weights, and the images it was given in train and in eval mode."""

    model: nn.Module = field(default_factory=nn.Identity)
    first_weights: list[Tensor] = field(default_factory=list)
    trained_on: list[Tensor] = field(default_factory=list)
    judged: list[Tensor] = field(default_factory=list)


@pytest.fixture
def watch(monkeypatch) -> Callable[[ModuleType], Surrogate]:
    """The surrogate that an attack of this module will build."""

    def start(module: ModuleType) -> Surrogate:
        found = Surrogate()

        def build(*args: object, **options: object) -> nn.Module:
            found.model = build_surrogate(*args, **options)
            found.first_weights = [m.weight.detach().clone() for m in found.model.modules() if isinstance(m, nn.Conv2d)]

            def see(model: nn.Module, inputs: tuple[Tensor]) -> None:
                (found.trained_on if model.training else found.judged).append(inputs[0].detach().clone())

            found.model.register_forward_pre_hook(see)
            return found.model

        monkeypatch.setattr(module, "build_surrogate", build)
        return found

    return start


def test_em_trains_on_the_noise_of_the_last_round_and_goes_on_from_it(
    learnable_set, make_context, watch, monkeypatch
) -> None:
    noises = [torch.zeros(())]
    update = SampleNoise.update

    def record(self: SampleNoise, model: nn.Module) -> None:
        update(self, model)
        noises.append(self.delta.clone())

    monkeypatch.setattr(SampleNoise, "update", record)
    train, surrogate = learnable_set(count=40), watch(em)
    attack = em.Em(
        surrogate="s-net",
        steps=1,
        step_size=1 / 255,
        batches_per_round=1,
        batch_size=40,
        official_order=True,
        stop_error=0.0,
        max_rounds=3,
    )
    attack.poison(train, make_context())
    for images, noise in zip(surrogate.trained_on, noises[:3], strict=True):
        torch.testing.assert_close(images, to_float(train.images) + noise)
    largest = [255 * float(noise.abs().max()) for noise in noises]
    assert largest == pytest.approx([0, 1, 2, 3]), "one step further every round"


@pytest.mark.parametrize(("mode", "sizes"), [("sample", [20, 20, 10, 20]), ("class", [20, 20, 20, 20])])
def test_em_leaves_out_an_incomplete_batch_class_wise_only(learnable_set, make_context, watch, mode, sizes) -> None:
    surrogate = watch(em)
    attack = em.Em(surrogate="s-net", mode=mode, steps=1, batch_size=20, batches_per_round=4, max_rounds=1)
    attack.poison(learnable_set(count=50), make_context())
    assert [len(images) for images in surrogate.trained_on] == sizes


def test_rem_trains_on_attacked_noisy_images(learnable_set, make_context, watch, monkeypatch) -> None:
    moved: list[Tensor] = []
    move = Players.move

    def record(self: Players, *images_and_geometry: Tensor) -> Tensor:
        found = move(self, *images_and_geometry)
        moved.append(found.detach())
        return found

    monkeypatch.setattr(Players, "move", record)
    train, surrogate = learnable_set(count=40), watch(rem)
    train.images[:3], train.images[3:6] = 0, 255
    rem.Rem(**QUICK_REM, rho_a=4 / 255, train_steps=3).poison(train, make_context())
    last_moves = moved[2:9:3]  # each visit moves twice for the defender, then once for the training step
    for hostile, noisy in zip(surrogate.trained_on, last_moves, strict=True):
        assert 3.9 < 255 * float((hostile - noisy).abs().max()) < 4.01
        assert 0 <= float(hostile.min()) <= float(hostile.max()) <= 1


def test_without_an_attacker_rem_is_error_minimizing_over_moves(learnable_set, make_context, watch) -> None:
    """Both ways to switch the attacker off; the surrogate trains on noisy images in whole levels."""
    train, found = learnable_set(count=40), []
    for off in ({"rho_a": 0.0}, {"rho_a": 4 / 255, "attacker_steps": 0}):
        surrogate, ctx = watch(rem), make_context()
        found.append(rem.Rem(**QUICK_REM | {"train_steps": 3} | off).poison(train, ctx).images)
        assert ctx.logs["passes_gradient"] == 40 * (3 * 2 + 2), "one gradient a step of the defender, none besides"
        for images in surrogate.trained_on:
            torch.testing.assert_close(255 * images, (255 * images).round(), atol=1e-3, rtol=0)
    assert torch.equal(*found)


def test_noise_of_rem_lowers_the_loss_under_fresh_moves_and_attacks(learnable_set, make_context, watch) -> None:
    train, surrogate = learnable_set(), watch(rem)
    attack = rem.Rem(**QUICK_REM | {"train_steps": 60}, rho_a=2 / 255, crop_padding=1)
    poisoned = attack.poison(train, make_context())
    for rho_a in (2 / 255, 0.0):
        players = rem.Rem(**QUICK_REM, rho_a=rho_a, crop_padding=1)._players(make_context(seed=5))
        clean, noisy = (
            sum(_attacked_loss(surrogate.model.eval(), players, to_float(data.images), train.labels) for _ in range(4))
            for data in (train, poisoned)
        )
        assert noisy < 0.7 * clean


def test_rem_reports_the_loss_on_moved_images(learnable_set, make_context, watch) -> None:
    train, ctx, surrogate = learnable_set(count=40), make_context(), watch(rem)
    rem.Rem(**QUICK_REM | {"attacker_steps": 0}, train_steps=3).poison(train, ctx)
    for name, images in zip(("clean", "poison"), surrogate.judged[-2:], strict=True):
        assert (images == 0).flatten(1).any(1).sum() > 35, "the border that a crop brings in"
        assert ctx.logs[f"robust_loss_{name}"] == pytest.approx(_loss(surrogate.model.eval(), images, train.labels))


def _attacked_loss(model: nn.Module, players: Players, images: Tensor, labels: Tensor) -> float:
    return _loss(model, players.attack(model, players.move(images), labels), labels)


def _loss(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float(cross_entropy(model(images), labels))


def test_tap_normalizes_by_the_set_and_starts_from_kaiming_weights(learnable_set, make_context, watch) -> None:
    train, surrogate = learnable_set(pattern_levels=12), watch(tap)
    tap.Tap(**QUICK_TAP, surrogate_epochs=1).poison(train, make_context())
    normalized = surrogate.model[0](to_float(train.images))
    assert normalized.mean((0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-4)
    assert normalized.std((0, 2, 3)).tolist() == pytest.approx([1, 1, 1], abs=1e-3)
    for weight in surrogate.first_weights[1:]:  # the first has too few for a deviation
        assert float(weight.std()) == pytest.approx((2 / (len(weight) * 9)) ** 0.5, rel=0.05), "normal, by fan-out"


def test_what_tap_moves_in_has_the_mean_color_of_the_set(learnable_set, make_context, watch) -> None:
    train, surrogate = learnable_set(count=40), watch(tap)
    out_of_view = 9999.0  # pixels
    tap.Tap(**QUICK_TAP, surrogate_epochs=1, shift=out_of_view).poison(train, make_context())
    color = to_float(train.images).mean((0, 2, 3)).view(1, 3, 1, 1)
    crafting = surrogate.judged[:3]  # two gradients and a loss; the report follows, on images that are not moved
    assert len(surrogate.trained_on) == 3, "the rehearsal's batch, and two of the set"
    for images in [*surrogate.trained_on, *crafting]:
        torch.testing.assert_close(images, color.expand_as(images), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("attack", "rates", "clipped"),
    [
        (
            em.Em(surrogate="s-net", steps=1, batches_per_round=2, batch_size=20, max_rounds=3, stop_error=0.0),
            [0.1] * 6,
            [5.0] * 6,
        ),
        (rem.Rem(**QUICK_REM, train_steps=5, lr_decay_every=2), [0.05, 0.05, 0.005, 0.005, 0.0005], []),
        (
            tap.Tap(**QUICK_TAP, surrogate_epochs=4),
            [0.1] * 3 + [0.01] * 2 + [0.001] * 2 + [0.0001] * 2,
            [],
        ),  # rehearsal
    ],
    ids=["em", "rem", "tap"],
)
def test_learning_rates_and_clipping(learnable_set, make_context, monkeypatch, attack, rates, clipped) -> None:
    seen: list[float] = []
    limits: list[float] = []
    step, clip = Stepper.update, Stepper._clip

    def record(self: Stepper, loss: Tensor) -> None:
        seen.append(self._optimizer.param_groups[0]["lr"])
        step(self, loss)

    def limit(self: Stepper, largest: float) -> None:
        limits.append(largest)
        clip(self, largest)

    monkeypatch.setattr(Stepper, "update", record)
    monkeypatch.setattr(Stepper, "_clip", limit)
    attack.poison(learnable_set(count=40), make_context())
    assert seen == pytest.approx(rates)
    assert limits == clipped
