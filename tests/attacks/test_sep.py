import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from attacks.sep import Sep, _InTurn, _targets
from bench.api import Budget, ImageSet, Recipe
from bench.training import Batches, fit, lr_factor, predict
from bench.training import cross_entropy as plain_loss
from bench.training.pgd import pgd
from bench.training.surrogates import build_surrogate, sweep


def _quick(**changes: object) -> Sep:
    settings = {
        "steps": 8,
        "checkpoints": 3,
        "surrogate_epochs": 12,
        "crop_padding": 0,
        "flip": False,
        "batch_size": 30,
        "surrogate": "s-net",
    }
    return Sep(**{**settings, **changes})


def _difference(poisoned: ImageSet, train: ImageSet) -> Tensor:
    return poisoned.images.to(torch.int16) - train.images.to(torch.int16)


@pytest.mark.parametrize("classes", [2, 3, 10, 101])
def test_targets_are_a_permutation_without_fixed_points(classes: int) -> None:
    targets = _targets(torch.arange(classes), classes)
    assert sorted(targets.tolist()) == list(range(classes))
    assert (targets != torch.arange(classes)).all()
    assert classes != 10 or targets.tolist() == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]


def test_a_step_sums_the_gradients_of_all_checkpoints(learnable_set, make_context) -> None:
    train = learnable_set(count=20)
    images, labels = train.images.float() / 255, train.labels
    members = [build_surrogate("s-net", train.info, make_context(seed)).eval() for seed in range(3)]
    for member in members:
        member[-1].weight.data.mul_(50)  # so that their logits differ from image to image
    noise = torch.zeros_like(images).requires_grad_()
    loss = sum(cross_entropy(member(images + noise), labels) for member in members)
    (gradient,) = torch.autograd.grad(loss, noise)
    step = {"direction": "minimize", "budget": Budget("linf", 0.1), "step_size": 0.01, "steps": 1, "samples": 3}
    found = pgd(_InTurn(members), images, labels, **step)
    assert (found + 0.01 * gradient.sign()).abs().gt(1e-5).double().mean() < 0.01


def test_checkpoints_are_equally_far_apart_and_end_with_the_training(learnable_set, make_context) -> None:
    train = learnable_set()
    attack = _quick(surrogate_epochs=6, checkpoints=3, lr=0.01)
    members = attack._train(train, make_context())
    (last,) = _quick(surrogate_epochs=6, checkpoints=1, lr=0.01)._train(train, make_context())
    every = _quick(surrogate_epochs=6, checkpoints=6, lr=0.01)._train(train, make_context())

    def same(one: nn.Module, other: nn.Module) -> bool:
        return all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))

    assert len(members) == 3
    assert same(members[-1], last)
    assert [[same(member, one) for one in every].index(True) for member in members] == [1, 3, 5]


def test_images_become_their_target_to_the_checkpoints(learnable_set, make_context, separability) -> None:
    train, ctx = learnable_set(count=240), make_context()
    before = train.images.clone()
    poisoned = _quick().poison(train, ctx)
    assert _difference(poisoned, train).abs().max() == 8
    assert ctx.logs["target_success"] >= 0.9
    assert ctx.logs["surrogate_poison_accuracy"] < 0.05
    assert separability(poisoned, train) >= 0.95
    assert ctx.logs["converged"] is True
    assert torch.equal(train.images, before)


def test_a_victim_takes_clean_images_for_another_class(learnable_set, make_context) -> None:
    train, ctx = learnable_set(count=400, pattern_levels=1.5, noise_levels=10), make_context(scope="victim")
    poisoned = _quick().poison(train, make_context())
    victim = build_surrogate("s-net", train.info, ctx)
    batches = Batches(poisoned, ctx.device, 30, ctx.generator("batch-order"))
    fit(victim, batches, plain_loss(victim), Recipe(epochs=12, lr=0.1, schedule="one-cycle"), ctx)
    found = predict(victim, train.images, ctx.device)
    own, other = ((found == label).double().mean() for label in (train.labels, (train.labels - 2) % 4))
    assert own < 0.35
    assert other > 0.3


def test_the_schedule_and_the_steps_are_the_authors(learnable_set, make_context, monkeypatch) -> None:
    recipe = Sep()._recipe
    assert recipe.milestones == (75, 90)
    assert [lr_factor(recipe, epoch, 1) for epoch in (74, 75, 90)] == pytest.approx([1, 0.1, 0.01])
    steps = []

    def noted(model: nn.Module, images: Tensor, labels: Tensor, **rest: object) -> Tensor:
        steps.append((round(255 * rest["step_size"], 6), rest["samples"], rest["steps"]))
        return rest["start"]

    monkeypatch.setattr(sweep, "pgd", noted)
    monkeypatch.setattr(Sep, "_train", lambda self, train, ctx: [build_surrogate("s-net", train.info, ctx)] * 30)
    Sep(surrogate="s-net").poison(learnable_set(count=8), make_context())
    assert steps == [(1.0, 30, 1)] * 30


def test_passes_are_counted_and_limited(learnable_set, make_context) -> None:
    free, limited = make_context(), make_context()
    _quick(steps=2, surrogate_epochs=3).poison(learnable_set(), free)
    assert [free.logs[f"passes_{kind}"] for kind in ("training", "gradient", "forward")] == [360, 720, 0]
    _quick(steps=2, surrogate_epochs=3, max_passes=400).poison(learnable_set(), limited)
    assert (limited.logs["passes_gradient"], limited.logs["converged"]) == (360, False)


def test_the_seed_decides(learnable_set, make_context) -> None:
    train, attack = learnable_set(count=50), _quick(surrogate_epochs=3, crop_padding=2, flip=True)
    one, again, other = (attack.poison(train, make_context(seed)).images for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eps": -0.1}, "eps is an L-inf radius"),
        ({"checkpoints": 0}, "checkpoints must be"),
        ({"checkpoints": 7}, "must be a multiple of checkpoints, got 120 and 7; the paper has 120 and 30"),
        ({"crop_padding": -1}, "crop_padding must be"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sep(**settings)
