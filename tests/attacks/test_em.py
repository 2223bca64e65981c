import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from attacks import em
from attacks.em import Em
from attacks.em.noise import ClassNoise, Descent, SampleNoise
from bench.api import Budget, ImageSet
from bench.errors import UserError
from bench.training import TrainingDivergedError, to_float
from bench.training.surrogates import crafting
from bench.training.surrogates.crafting import Passes
from bench.training.surrogates.networks import build_surrogate

EPS = 8 / 255


def _quick(**changes: object) -> Em:
    settings = {"steps": 3, "step_size": 3.2 / 255, "batch_size": 40, "lr": 0.05, "surrogate": "s-net"}
    return Em(**{**settings, **changes})


def _class_wise(**changes: object) -> Em:
    settings = {"mode": "class", "steps": 1, "step_size": 2 / 255, "noise_fraction": 1.0, "stop_error": 0.02}
    return _quick(**{**settings, **changes})


def _difference(poisoned: ImageSet, train: ImageSet) -> Tensor:
    return poisoned.images.to(torch.int16) - train.images.to(torch.int16)


@pytest.fixture
def built(monkeypatch) -> list[nn.Module]:
    """The surrogates that attacks build."""
    models: list[nn.Module] = []

    def build(*args: object, **options: object) -> nn.Module:
        models.append(build_surrogate(*args, **options))
        return models[-1]

    monkeypatch.setattr(em, "build_surrogate", build)
    return models


@pytest.mark.parametrize("attack", [_quick(), _class_wise()], ids=["sample", "class"])
def test_noise_fills_the_budget_with_both_signs_and_tells_the_classes_apart(
    learnable_set, make_context, separability, attack: Em
) -> None:
    train, ctx = learnable_set(), make_context()
    before = train.images.clone()
    poisoned = attack.poison(train, ctx)
    difference = _difference(poisoned, train)
    assert difference.abs().max() == 8
    assert 0.3 < (difference < 0).double().mean() / (difference != 0).double().mean() < 0.7
    assert float((difference.abs() == 8).double().mean()) > 0.3
    assert separability(poisoned, train) >= 0.95
    assert ctx.logs["converged"] is True
    assert torch.equal(train.images, before)
    assert torch.equal(poisoned.labels, train.labels)


def test_the_final_surrogate_knows_the_noise_and_not_the_images(learnable_set, make_context, built) -> None:
    train, ctx = learnable_set(), make_context()
    poisoned = _quick().poison(train, ctx)
    surrogate = built[0].eval()
    assert surrogate[0][1].num_batches_tracked == 10 * ctx.logs["rounds"], "in train mode while training, only then"
    with torch.no_grad():
        clean, noisy = (cross_entropy(surrogate(to_float(s.images)), train.labels) for s in (train, poisoned))
        right = (surrogate(to_float(poisoned.images)).argmax(1) == train.labels).double().mean()
    assert right >= 0.99
    assert ctx.logs["surrogate_poison_accuracy"] == pytest.approx(float(right))
    assert noisy < 0.5 * clean


def test_a_class_has_one_noise(learnable_set, make_context) -> None:
    train = learnable_set()  # far from black and white: nothing clips
    difference = _difference(_class_wise().poison(train, make_context()), train)
    for label in range(4):
        assert len(difference[train.labels == label].flatten(1).unique(dim=0)) == 1
    assert len(difference.flatten(1).unique(dim=0)) == 4


def test_images_of_a_class_differ_only_where_they_clip(learnable_set, make_context) -> None:
    train = learnable_set()
    train.images[:40:3], train.images[1:40:3] = 3, 252
    poisoned = _class_wise().poison(train, make_context())
    difference = _difference(poisoned, train)
    for label in range(4):
        rows = train.labels == label
        noise = difference[rows][-1]  # of an image far from black and white
        assert torch.equal(poisoned.images[rows], (train.images[rows] + noise).clamp(0, 255).to(torch.uint8))
        assert (difference[rows] != noise).any(), "some clip"


def test_class_noise_is_replaced_by_the_mean_of_each_batch_in_turn(learnable_set, make_context) -> None:
    ctx = make_context()
    order = torch.randperm(60, generator=ctx.generator("noise-order"))
    labels = torch.arange(60) % 3
    labels[order[:2]] = 3  # in the first batch alone
    train = learnable_set(60, labels=labels)
    model = build_surrogate("s-net", train.info, ctx).eval()
    noise = ClassNoise(train, ctx, Descent(Budget("linf", EPS), 1, 3 / 255, Passes()), 16, 1.0)
    expected = torch.zeros(4, *train.info.shape)
    for start in range(0, 48, 16):  # 12 images are left out
        rows = order[start : start + 16]
        found: dict[int, list[Tensor]] = {}
        for row in rows.tolist():
            label = int(train.labels[row])
            image = train.images[row].float() / 255
            delta = expected[label].clone().requires_grad_()
            loss = cross_entropy(model((image + delta)[None]), train.labels[row : row + 1])
            (gradient,) = torch.autograd.grad(loss, delta)
            found.setdefault(label, []).append((delta - 3 / 255 * gradient.sign()).detach().clamp(-EPS, EPS))
        for label, deltas in found.items():
            expected[label] = torch.stack(deltas).mean(0)
    noise.update(model)
    assert (noise.delta - expected).abs().gt(1e-4).double().mean() < 0.01, "all but a few signs of tiny gradients"


def test_the_error_is_that_on_the_noisy_images(learnable_set, make_context, monkeypatch) -> None:
    monkeypatch.setattr(crafting, "_ENTRIES_AT_ONCE", {"cpu": 7 * 768})
    train, ctx = learnable_set(count=30), make_context()
    model = build_surrogate("s-net", train.info, ctx)
    model[-1].weight.data.mul_(50)  # so that its answers differ from image to image
    noise = SampleNoise(train, ctx, Descent(Budget("linf", EPS), 1, 0.01, Passes()))
    noise.delta.normal_(std=0.5)
    logits = model.eval()((to_float(train.images) + noise.delta).clamp(0, 1))
    error, loss = noise.judge(model)
    assert error == pytest.approx(float((logits.argmax(1) != train.labels).double().mean()))
    assert loss == pytest.approx(float(cross_entropy(logits, train.labels).detach()), rel=1e-4)


def test_the_part_of_a_class_is_stratified_and_has_at_least_one_image(learnable_set, make_context) -> None:
    labels = torch.tensor([0] * 50 + [1] * 20 + [2])
    noise = ClassNoise(
        learnable_set(71, 3, labels=labels), make_context(), Descent(Budget("linf", EPS), 1, 0.01, Passes()), 16, 0.2
    )
    assert torch.bincount(noise._part.labels).tolist() == [10, 4, 1]


@pytest.mark.parametrize("attack", [_quick(), _class_wise()], ids=["sample", "class"])
def test_an_update_never_waits_for_the_device(learnable_set, make_context, no_reading, attack: Em) -> None:
    train, ctx = learnable_set(count=40), make_context()
    model = build_surrogate("s-net", train.info, ctx)
    noise = attack._noise(train, ctx, Passes())
    with no_reading():
        noise.update(model)
    assert noise.delta.abs().max() > 0


def test_defaults_are_the_authors(smooth_set, make_context) -> None:
    for mode, steps, stop in (("sample", 20, 0.01), ("class", 1, 0.1)):
        attack = Em(mode=mode)
        descent = attack._noise(smooth_set(), make_context(), Passes())._descent
        assert (descent.steps, attack._stop_error) == (steps, stop)
        assert descent.step_size * 255 == pytest.approx(0.8)
    assert Em(16 / 255)._noise(smooth_set(), make_context(), Passes())._descent.step_size * 255 == pytest.approx(1.6)
    few = Em(16 / 255, steps=8)._noise(smooth_set(), make_context(), Passes())._descent
    assert few.step_size * 255 == pytest.approx(4)
    assert Em()._recipe.clip_grad_norm == 5.0


def test_weight_decay_reaches_the_surrogate(learnable_set, make_context) -> None:
    assert (Em()._recipe.weight_decay, Em(weight_decay=5e-5)._recipe.weight_decay) == (5e-4, 5e-5)
    little, much = (
        _quick(max_rounds=1, weight_decay=decay).poison(learnable_set(), make_context()) for decay in (0, 9)
    )
    assert not little.images.equal(much.images)


def _rows_seen(monkeypatch) -> list[list[int]]:
    seen: list[list[int]] = []
    of = SampleNoise.of

    def record(self: SampleNoise, rows: Tensor, labels: Tensor) -> Tensor:
        seen.append(rows.tolist())
        return of(self, rows, labels)

    monkeypatch.setattr(SampleNoise, "of", record)
    return seen


def test_training_batches_go_on_across_rounds(learnable_set, make_context, monkeypatch) -> None:
    seen = _rows_seen(monkeypatch)
    attack = _quick(batches_per_round=1, batch_size=20, max_rounds=4, stop_error=0.0)
    attack.poison(learnable_set(count=80), make_context())
    assert sorted(row for rows in seen[:4] for row in rows) == list(range(80))
    assert seen[0] != list(range(20)), "shuffled"


def test_the_official_order_is_that_of_the_set(learnable_set, make_context, monkeypatch) -> None:
    seen = _rows_seen(monkeypatch)
    _quick(official_order=True, batch_size=20, max_rounds=1).poison(learnable_set(count=50), make_context())
    assert seen[:3] == [list(range(20)), list(range(20, 40)), list(range(40, 50))]


def test_the_best_round_is_kept_if_none_is_good_enough(learnable_set, make_context, monkeypatch) -> None:
    errors, kept = [0.9, 0.4, 0.7], []

    def judge(self: SampleNoise, model: nn.Module) -> tuple[float, float]:
        kept.append(self.delta.clone())
        return errors[len(kept) - 1], 1.0

    monkeypatch.setattr(SampleNoise, "judge", judge)
    train, ctx = learnable_set(), make_context()
    poisoned = _quick(max_rounds=3).poison(train, ctx)
    assert torch.equal(_difference(poisoned, train), (kept[1] * 255).round().to(torch.int16))
    assert ctx.logs["round_errors"] == errors
    assert (ctx.logs["rounds"], ctx.logs["converged"]) == (3, False)


def test_positive_only_drops_the_negative_half(learnable_set, make_context) -> None:
    train = learnable_set()
    both, half = (_quick(positive_only=flag).poison(train, make_context()) for flag in (False, True))
    assert torch.equal(_difference(half, train), _difference(both, train).clamp(min=0))


def test_passes_are_counted_and_limited(learnable_set, make_context, monkeypatch) -> None:
    monkeypatch.setattr(crafting, "_ENTRIES_AT_ONCE", {"cpu": 40 * 768})
    free, limited = make_context(), make_context()
    _quick(max_rounds=2, stop_error=0.0).poison(learnable_set(), free)
    assert [free.logs[f"passes_{kind}"] for kind in ("training", "gradient", "forward")] == [800, 720, 240]
    _quick(max_rounds=9, stop_error=0.0, max_passes=600).poison(learnable_set(), limited)
    assert (limited.logs["rounds"], limited.logs["converged"]) == (1, False)
    assert limited.logs["passes_gradient"] < 360, "stops inside a round"


def test_a_class_wise_update_stops_after_the_batch_that_reaches_a_limit(learnable_set, make_context) -> None:
    train, ctx = learnable_set(count=80), make_context()
    descent = Descent(Budget("linf", EPS), 1, 1 / 255, Passes(max_passes=20))
    ClassNoise(train, ctx, descent, 16, 1.0).update(build_surrogate("s-net", train.info, ctx))
    assert descent.passes.gradient == 32


def test_a_time_limit_stops_after_a_round(learnable_set, make_context) -> None:
    ctx = make_context()
    _quick(max_seconds=1e-9, stop_error=0.0).poison(learnable_set(), ctx)
    assert (ctx.logs["rounds"], ctx.logs["converged"]) == (1, False)


@pytest.mark.parametrize("attack", [_quick(max_rounds=2), _class_wise(max_rounds=2)], ids=["sample", "class"])
def test_the_seed_decides(learnable_set, make_context, attack: Em) -> None:
    train = learnable_set(count=50)
    one, again, other = (attack.poison(train, make_context(seed)).images for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_the_chunk_size_does_not_matter(learnable_set, make_context, monkeypatch) -> None:
    train = learnable_set(count=50)
    whole = _quick(max_rounds=1).poison(train, make_context()).images
    monkeypatch.setattr(crafting, "_ENTRIES_AT_ONCE", {"cpu": 7 * 768})
    assert (_quick(max_rounds=1).poison(train, make_context()).images != whole).double().mean() < 0.01


@pytest.mark.parametrize("attack", [_quick(max_rounds=2), _class_wise(max_rounds=2)], ids=["sample", "class"])
def test_odd_sizes_two_unbalanced_classes_and_saturated_images(learnable_set, make_context, attack: Em) -> None:
    train = learnable_set(41, 2, shape=(1, 9, 14), labels=torch.tensor([0] * 37 + [1] * 4))
    train.images[:3], train.images[3:6] = 0, 255
    poisoned = attack.poison(train, make_context())
    difference = _difference(poisoned, train)
    assert difference[:3].min() >= 0
    assert difference[3:6].max() <= 0
    assert 0 < difference.abs().max() <= 8


def test_a_diverging_surrogate_is_named(learnable_set, make_context) -> None:
    with pytest.raises(TrainingDivergedError, match=r"became (nan|inf).* in round \d+ \(lr 1e\+30\); lower lr"):
        _quick(lr=1e30, stop_error=0.0).poison(learnable_set(), make_context())


def test_a_loss_on_the_noisy_images_that_is_not_finite_is_named(learnable_set, make_context, monkeypatch) -> None:
    losses = iter([1.0, math.inf])
    monkeypatch.setattr(SampleNoise, "judge", lambda self, model: (0.9, next(losses)))
    with pytest.raises(TrainingDivergedError, match=r"inf on the noisy images, in round 2 \(lr 0\.05\); lower lr"):
        _quick().poison(learnable_set(), make_context())


def test_one_class_is_refused(learnable_set, make_context) -> None:
    train = learnable_set(labels=torch.zeros(120, dtype=torch.int64))
    for attack, data in ((_class_wise(), train), (_quick(), replace(train, info=replace(train.info, num_classes=1)))):
        with pytest.raises(UserError, match="at least 2 classes, got 120 images of 1"):
            attack.poison(data, make_context())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eps": 0.0}, "eps is an L-inf radius.*got 0; write eps=8/255"),
        ({"eps": float("nan")}, "got nan"),
        ({"eps": 1.0}, "L2 budgets are not supported here: lsp and ar"),
        ({"batch_size": 1}, "batch_size must be at least 2 images, got 1"),
        ({"surrogate": "resnet"}, "unknown surrogate 'resnet'; did you mean resnet18"),
        ({"mode": "classwise"}, "mode must be sample or class"),
        ({"steps": 0}, "steps must be"),
        ({"lr": -1.0}, "lr must be"),
        ({"stop_error": 1.0}, "stop_error is a share"),
        ({"noise_fraction": 0.0}, "noise_fraction"),
        ({"weight_decay": float("inf")}, "weight_decay must be"),
        ({"weight_decay": -1.0}, "weight_decay must be"),
        ({"rounding": "up"}, "rounding"),
        ({"max_seconds": 0.0}, "max_seconds"),
        ({"poison_rate": 0.0}, "poison_rate"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Em(**settings)
