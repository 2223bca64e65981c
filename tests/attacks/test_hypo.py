import pytest
import torch
from torch import Tensor

from attacks.hypo import Hypo
from bench.api import ImageSet, Recipe
from bench.errors import UserError
from bench.training import Batches, TrainingDivergedError, cross_entropy, fit, lr_factor, predict
from bench.training.surrogates import Sweep, build_surrogate


def _quick(**changes: object) -> Hypo:
    settings = {
        "steps": 8,
        "surrogate_epochs": 12,
        "crop_padding": 0,
        "flip": False,
        "batch_size": 30,
        "surrogate": "s-net",
    }
    return Hypo(**{**settings, **changes})


def _difference(poisoned: ImageSet, train: ImageSet) -> Tensor:
    return poisoned.images.to(torch.int16) - train.images.to(torch.int16)


def test_images_become_easier_for_the_surrogate_and_their_noise_tells_the_class(
    learnable_set, make_context, separability
) -> None:
    train, ctx = learnable_set(count=240, pattern_levels=2), make_context()
    before = train.images.clone()
    poisoned = _quick(surrogate_epochs=4).poison(train, ctx)
    difference = _difference(poisoned, train)
    assert difference.abs().max() == 8
    assert ctx.logs["surrogate_poison_accuracy"] > max(0.95, ctx.logs["surrogate_clean_accuracy"])
    assert ctx.logs["final_loss"] < 0.1
    assert separability(poisoned, train) >= 0.95
    assert ctx.logs["converged"] is True
    assert torch.equal(train.images, before)


def test_a_victim_learns_the_noise_and_loses_accuracy_on_clean_images(learnable_set, make_context) -> None:
    train = learnable_set(count=400, pattern_levels=1.5, noise_levels=10)
    found = []
    for seen in (train, _quick().poison(train, make_context())):
        ctx = make_context(scope="victim")
        victim = build_surrogate("s-net", train.info, ctx)
        batches = Batches(seen, ctx.device, 30, ctx.generator("batch-order"))
        fit(victim, batches, cross_entropy(victim), Recipe(epochs=6, lr=0.1, schedule="one-cycle"), ctx)
        found.append(float((predict(victim, train.images, ctx.device) == train.labels).double().mean()))
    assert found[0] > 0.9
    assert found[1] < found[0] - 0.1


@pytest.mark.parametrize("eps", [8, 16])
def test_steps_are_the_papers_and_start_at_the_image(learnable_set, make_context, monkeypatch, eps: int) -> None:
    steps: list[tuple[float, float]] = []

    def step(self: Sweep, delta: Tensor, moves: object, measure: bool) -> float:
        steps.append((round(255 * self.step_size, 6), float(delta.abs().max())))
        assert moves is None
        assert self.direction == "minimize"
        return 0.0

    monkeypatch.setattr(Sweep, "step", step)
    Hypo(eps / 255, surrogate="s-net", surrogate_epochs=1).poison(learnable_set(count=8), make_context())
    assert steps == [(eps / 10, 0.0)] * 100


def test_the_schedule_is_the_authors() -> None:
    recipe = Hypo()._recipe
    assert recipe.milestones == (100, 125)
    assert [lr_factor(recipe, epoch, 1) for epoch in (99, 100, 125)] == pytest.approx([1, 0.1, 0.01])
    assert (recipe.batch_size, recipe.lr, recipe.momentum, recipe.weight_decay) == (128, 0.1, 0.9, 5e-4)


def test_passes_are_counted_and_limited(learnable_set, make_context) -> None:
    free, limited = make_context(), make_context()
    _quick(steps=3, surrogate_epochs=2).poison(learnable_set(), free)
    assert [free.logs[f"passes_{kind}"] for kind in ("training", "gradient", "forward")] == [240, 360, 120]
    _quick(steps=3, surrogate_epochs=2, max_passes=300).poison(learnable_set(), limited)
    assert (limited.logs["passes_gradient"], limited.logs["converged"]) == (240, False)


def test_the_seed_decides(learnable_set, make_context) -> None:
    train, attack = learnable_set(count=50), _quick(surrogate_epochs=2, crop_padding=2, flip=True)
    one, again, other = (attack.poison(train, make_context(seed)).images for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_odd_sizes_two_unbalanced_classes_and_saturated_images(learnable_set, make_context) -> None:
    train = learnable_set(41, 2, shape=(1, 9, 14), labels=torch.tensor([0] * 37 + [1] * 4))
    train.images[:3], train.images[3:6] = 0, 255
    difference = _difference(_quick(surrogate_epochs=2, batch_size=40).poison(train, make_context()), train)
    assert difference[:3].min() >= 0
    assert difference[3:6].max() <= 0
    assert 0 < difference.abs().max() <= 8


def test_a_diverging_surrogate_and_one_class_are_named(learnable_set, make_context) -> None:
    with pytest.raises(TrainingDivergedError, match="lower lr"):
        _quick(lr=1e30).poison(learnable_set(), make_context())
    with pytest.raises(UserError, match="at least 2 classes"):
        _quick().poison(learnable_set(labels=torch.zeros(120, dtype=torch.int64)), make_context())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eps": -0.1}, "eps is an L-inf radius"),
        ({"steps": 0}, "steps must be"),
        ({"surrogate_epochs": 0}, "surrogate_epochs must be"),
        ({"crop_padding": -1}, "crop_padding must be"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Hypo(**settings)
