from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from attacks import rem
from attacks.em.noise import Descent
from attacks.rem import Rem, min_max
from attacks.rem.min_max import Players
from bench.api import Budget, Context, ImageSet
from bench.errors import UserError
from bench.training import TrainingDivergedError, lr_factor, to_float
from bench.training.crops import draw_boxes
from bench.training.moves import crop, draw_crops
from bench.training.pgd import random_start
from bench.training.surrogates import crafting
from bench.training.surrogates.networks import build_surrogate

EPS = Budget("linf", 8 / 255)


def _quick(**changes: object) -> Rem:
    settings = {
        "rho_a": 2 / 255,
        "train_steps": 30,
        "batch_size": 32,
        "lr": 0.05,
        "steps": 2,
        "step_size": 6 / 255,
        "attacker_steps": 1,
        "attacker_step_size": 2 / 255,
        "samples": 1,
        "crop_padding": 0,
        "surrogate": "s-net",
    }
    return Rem(**{**settings, **changes})


def _players(ctx: Context, **changes: object) -> Players:
    settings = {
        "ctx": ctx,
        "budget": EPS,
        "step_size": 2 / 255,
        "steps": 3,
        "samples": 2,
        "attacker_budget": Budget("linf", 2 / 255),
        "attacker_step_size": 1 / 255,
        "attacker_steps": 2,
        "crop_padding": 2,
        "random_resized_crop": False,
        "flip": True,
    }
    return Players(**{**settings, **changes})


@pytest.fixture
def judged(learnable_set, make_context) -> tuple[nn.Module, Tensor, Tensor]:
    """A surrogate in train mode, images far from black and white, and labels."""
    train = learnable_set(count=24)
    return build_surrogate("s-net", train.info, make_context()).train(), to_float(train.images), train.labels


@pytest.fixture
def built(monkeypatch) -> list[nn.Module]:
    """The surrogates that attacks build."""
    models: list[nn.Module] = []

    def build(*args: object, **options: object) -> nn.Module:
        models.append(build_surrogate(*args, **options))
        return models[-1]

    monkeypatch.setattr(rem, "build_surrogate", build)
    return models


def _difference(poisoned: ImageSet, train: ImageSet) -> Tensor:
    return poisoned.images.to(torch.int16) - train.images.to(torch.int16)


def test_noise_keeps_the_budget_with_both_signs_and_lowers_the_robust_loss(learnable_set, make_context, built) -> None:
    train, ctx = learnable_set(), make_context()
    before = train.images.clone()
    poisoned = _quick(train_steps=60).poison(train, ctx)
    difference = _difference(poisoned, train)
    assert difference.abs().max() == 8
    assert 0.3 < (difference < 0).double().mean() / (difference != 0).double().mean() < 0.7
    assert torch.equal(train.images, before)
    assert ctx.logs["robust_loss_gap"] > 0.5
    assert ctx.logs["robust_loss_gap"] == pytest.approx(ctx.logs["robust_loss_clean"] - ctx.logs["robust_loss_poison"])
    assert (ctx.logs["surrogate_steps"], ctx.logs["converged"]) == (60, True)
    assert built[0][1][1].num_batches_tracked == 60, "in train mode while training, only then"
    with torch.no_grad():
        clean, noisy = (cross_entropy(built[0].eval()(to_float(s.images)), train.labels) for s in (train, poisoned))
    assert noisy < 0.1 * clean, "also without an attacker"


def _by_loops(model: nn.Module, images: Tensor, labels: Tensor, players: Players) -> Tensor:
    """The defender of the paper, from a context of its own with the same seed: one image's graph at a time."""
    model.eval()
    radius, stream = players.budget.radius, players.ctx.stream
    delta = (2 * torch.rand(images.shape, generator=stream("delta-init")) - 1) * radius
    for _ in range(players.steps):
        pulled = torch.zeros_like(delta)
        for _ in range(players.samples):
            noise = delta.clone().requires_grad_()
            moves = draw_crops(len(images), players.crop_padding, players.flip, stream("transform"))
            moved = crop((images + noise).clamp(0, 1), moves)
            hostile = players.attack(model, moved.detach(), labels).detach().requires_grad_()
            for row in range(len(images)):
                loss = cross_entropy(model(hostile[row : row + 1]), labels[row : row + 1])
                (slope,) = torch.autograd.grad(loss, hostile, retain_graph=True)
                (part,) = torch.autograd.grad((moved * slope).sum(), noise, retain_graph=True)
                pulled += part
        delta = (delta - players.step_size * pulled.sign()).clamp(-radius, radius)
    return delta


def _agree(one: Tensor, two: Tensor) -> bool:
    """Equal but for a few signs of tiny gradients."""
    return bool((one - two).abs().gt(1e-5).double().mean() < 0.01)


@pytest.mark.parametrize("at_once", [1, 24, 48, 72])  # one, one, two and all three samples share their passes
def test_the_defender_is_the_papers(judged, make_context, monkeypatch, at_once) -> None:
    monkeypatch.setattr(min_max, "at_once", lambda images: at_once)
    model, images, labels = judged
    images = images.clone()
    images[:6] = (images[:6] * 4 - 1.5).clamp(0, 1)  # some pixels saturate
    found = _players(make_context(), samples=3).defend(model, images, labels)
    assert model.training
    assert _agree(found, _by_loops(model, images, labels, _players(make_context(), samples=3)))


@pytest.mark.parametrize("without", [{"attacker_steps": 0}, {"attacker_budget": Budget("linf", 0.0)}])
def test_without_an_attacker_it_is_error_minimizing_over_transforms(judged, make_context, without) -> None:
    model, images, labels = judged
    found = _players(make_context(), **without).defend(model, images, labels)
    ctx = make_context()
    players = _players(ctx)
    delta = random_start(images, EPS, ctx.stream("delta-init"))
    for _ in range(players.steps):
        total = torch.zeros_like(delta)
        for _ in range(players.samples):
            noise = delta.clone().requires_grad_()
            loss = cross_entropy(model.eval()(players.move(images + noise)), labels, reduction="sum")
            total += torch.autograd.grad(loss, noise)[0]
        delta = (delta - players.step_size * total.sign()).clamp(-EPS.radius, EPS.radius)
    assert _agree(found, delta)


def test_one_sample_without_moves_and_attacker_is_a_step_of_em(judged, make_context) -> None:
    model, images, labels = judged
    plain = {"samples": 1, "crop_padding": 0, "flip": False, "attacker_steps": 0}
    found = _players(make_context(), **plain).defend(model, images, labels)
    start = random_start(images, EPS, make_context().stream("delta-init"))
    em = Descent(EPS, 3, 2 / 255, rem.Passes())(model, images, labels, start)
    assert _agree(found, em)


def test_the_attack_stays_near_in_range_and_raises_the_loss(judged, make_context) -> None:
    model, images, labels = judged
    images = torch.cat([images[:20], torch.zeros_like(images[:2]), torch.ones_like(images[:2])])
    hostile = _players(make_context(), attacker_steps=5).attack(model, images, labels)
    assert (hostile - images).abs().max() <= 2 / 255 + 1e-6
    assert 0 <= hostile.min() <= hostile.max() <= 1
    seen: list[Tensor] = []
    hook = model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    _players(make_context()).attack(model, images, labels)
    hook.remove()
    assert all(0 <= inputs.min() <= inputs.max() <= 1 for inputs in seen), "also the start"
    model.eval()
    assert cross_entropy(model(hostile), labels) > cross_entropy(model(images), labels)


@pytest.mark.parametrize(("player", "attacker_steps", "radius"), [("attack", 1, 2 / 255), ("defend", 0, 8 / 255)])
def test_a_player_starts_at_a_new_uniform_place_every_time(
    judged, make_context, player: str, attacker_steps: int, radius: float
) -> None:
    model, images, labels = judged
    starts: list[Tensor] = []
    model.register_forward_pre_hook(lambda module, inputs: starts.append(inputs[0].detach() - images))
    players = _players(make_context(), steps=1, samples=1, crop_padding=0, flip=False, attacker_steps=attacker_steps)
    for _ in range(2):
        getattr(players, player)(model, images, labels)
    for start in starts:
        assert 0.95 * radius < float(start.abs().max()) <= radius + 1e-6
        assert float(start.abs().mean()) == pytest.approx(radius / 2, rel=0.05)
        assert float((start < 0).float().mean()) == pytest.approx(0.5, abs=0.05)
    assert not torch.equal(*starts)


def test_both_players_leave_the_batch_statistics_alone(judged, make_context) -> None:
    model, images, labels = judged
    before = {name: value.clone() for name, value in model.state_dict().items()}
    _players(make_context()).defend(model, images, labels)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_the_players_never_wait_for_the_device(judged, make_context, no_reading) -> None:
    model, images, labels = judged
    players = _players(make_context())
    with no_reading():
        players.defend(model, images, labels)


def _count_visits(monkeypatch) -> list[int]:
    """The defender returns the number of its call, in levels; the list holds the sizes of the batches."""
    visits: list[int] = []

    def defend(self: Players, model: nn.Module, images: Tensor, labels: Tensor, ratios: object) -> Tensor:
        visits.append(len(images))
        return torch.full_like(images, min(len(visits), 5) / 255)

    monkeypatch.setattr(Players, "defend", defend)
    return visits


def test_the_noise_of_every_image_is_made_anew_at_the_end(learnable_set, make_context, monkeypatch) -> None:
    monkeypatch.setattr(crafting, "_ENTRIES_AT_ONCE", {"cpu": 30 * 768})
    visits = _count_visits(monkeypatch)
    train = learnable_set(count=70)
    poisoned = _quick(train_steps=4).poison(train, make_context())
    assert visits == [32, 32, 32, 32, 30, 30, 10], "drop-last batches in training, all images at the end"
    assert (_difference(poisoned, train) == 5).all()


def test_the_surrogate_trains_on_noise_in_whole_levels(learnable_set, make_context, monkeypatch) -> None:
    seen: list[Tensor] = []
    move: Callable[[Players, Tensor], Tensor] = Players.move

    def record(self: Players, images: Tensor, ratios: object = None) -> Tensor:
        if not images.requires_grad:
            seen.append(images)
        return move(self, images)

    monkeypatch.setattr(Players, "move", record)
    _quick(train_steps=3).poison(learnable_set(), make_context())
    assert len(seen) >= 3
    for images in seen[:3]:
        levels = images * 255
        assert torch.allclose(levels, levels.round(), atol=1e-3)


def test_the_learning_rate_falls_tenfold_every_2000_steps() -> None:
    factors = [lr_factor(Rem()._recipe, step, 1) for step in (0, 1999, 2000, 3999, 4000, 4999)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(("eps", "rho_a"), [(8, 4.0), (16, 8.0)])
def test_step_sizes_scale_with_the_radius(make_context, eps: int, rho_a: float) -> None:
    players = Rem(eps=eps / 255)._players(make_context())
    found = (players.step_size, players.attacker_budget.radius, players.attacker_step_size)
    assert [255 * value for value in found] == pytest.approx([eps / 5, rho_a, rho_a / 5])
    assert players.passes == 550
    few = Rem(eps=eps / 255, steps=4, attacker_steps=1)._players(make_context())
    assert [255 * few.step_size, 255 * few.attacker_step_size] == pytest.approx([eps / 2, rho_a])
    seven = Rem(eps=eps / 255, steps=7, attacker_steps=7, travel=1.75)._players(make_context())
    assert [255 * seven.step_size, 255 * seven.attacker_step_size] == pytest.approx([eps / 4, rho_a / 4])


def test_passes_are_counted_and_the_last_generation_is_kept_in_reserve(learnable_set, make_context) -> None:
    free, limited = make_context(), make_context()
    _quick(train_steps=6).poison(learnable_set(count=64), free)
    assert free.logs["passes_training"] == 6 * 32
    assert free.logs["passes_gradient"] == 6 * 32 * 5 + 64 * 4
    _quick(train_steps=600, max_passes=1000).poison(learnable_set(count=64), limited)
    used = limited.logs["passes_training"] + limited.logs["passes_gradient"]
    assert 1000 <= used < 1000 + 6 * 32
    assert (limited.logs["surrogate_steps"], limited.logs["converged"]) == (4, False)


def test_the_seed_decides(learnable_set, make_context) -> None:
    train = learnable_set(count=50)
    one, again, other = (_quick(train_steps=5).poison(train, make_context(seed)).images for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_resized_crops_are_drawn_for_each_image_and_pull_back_into_their_box(make_context) -> None:
    players = _players(make_context(), crop_padding=0, random_resized_crop=True, flip=False)
    images = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (pulled,) = torch.autograd.grad(players.move(images).sum(), images)
    stream = make_context().stream("transform")  # of the same seed
    top, left, height, width = (16 * draw_boxes(torch.ones(6), stream)).T
    for row in range(6):
        rows, columns = (pulled[row, 0] > 0).any(1).nonzero().flatten(), (pulled[row, 0] > 0).any(0).nonzero().flatten()
        assert (int(rows[0]), int(rows[-1])) == (int(top[row]), int((top + height)[row].ceil()) - 1)
        assert (int(columns[0]), int(columns[-1])) == (int(left[row]), int((left + width)[row].ceil()) - 1)
    assert pulled[:, 0].sum((1, 2)).tolist() == pytest.approx([256] * 6, rel=1e-4)


def test_squeezed_images_are_cropped_in_their_own_geometry(learnable_set, make_context, monkeypatch) -> None:
    train = learnable_set(count=60)
    table = torch.linspace(0.5, 2, train.info.num_classes)
    train = replace(train, aspect_ratios=table[train.labels])
    seen = []

    def noted(ratios: Tensor, generator: torch.Generator) -> Tensor:
        seen.append(ratios)
        return draw_boxes(ratios, generator)

    def defend(self: Players, model: nn.Module, images: Tensor, labels: Tensor, ratios: Tensor) -> Tensor:
        assert torch.equal(ratios, table[labels])
        return whole(self, model, images, labels, ratios)

    whole = Players.defend
    monkeypatch.setattr("attacks.rem.min_max.draw_boxes", noted)
    monkeypatch.setattr(Players, "defend", defend)
    poisoned = _quick(train_steps=4, random_resized_crop=True).poison(train, make_context())
    assert 0 < _difference(poisoned, train).abs().max() <= 8
    assert all(not torch.equal(ratios, torch.ones(len(ratios))) for ratios in seen)


def test_odd_sizes_two_unbalanced_classes_and_saturated_images(learnable_set, make_context) -> None:
    train = learnable_set(41, 2, shape=(1, 9, 14), labels=torch.tensor([0] * 37 + [1] * 4))
    train.images[:3], train.images[3:6] = 0, 255
    difference = _difference(_quick(train_steps=4, crop_padding=2).poison(train, make_context()), train)
    assert difference[:3].min() >= 0
    assert difference[3:6].max() <= 0
    assert 0 < difference.abs().max() <= 8


def test_a_diverging_surrogate_is_named(learnable_set, make_context) -> None:
    with pytest.raises(TrainingDivergedError, match=r"became nan by training step 4 \(lr 1e\+30\); lower lr"):
        _quick(train_steps=4, lr=1e30).poison(learnable_set(), make_context())


def test_a_surrogate_that_diverges_in_its_last_step_is_named(learnable_set, make_context) -> None:
    with pytest.raises(TrainingDivergedError, match=r"the network diverged: its outputs are NaN .*; lower lr"):
        _quick(train_steps=1, lr=1e30).poison(learnable_set(), make_context())


def test_one_class_is_refused(learnable_set, make_context) -> None:
    with pytest.raises(UserError, match="at least 2 classes"):
        _quick().poison(learnable_set(labels=torch.zeros(120, dtype=torch.int64)), make_context())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eps": 0.0}, "eps is an L-inf radius"),
        ({"rho_a": 5 / 255}, "rho_a must be in 0..eps/2 = 4/255, got 5/255; .* raise eps or lower rho_a"),
        ({"eps": 4 / 255, "rho_a": 4 / 255}, "eps/2 = 2/255"),
        ({"rho_a": -0.1}, "rho_a"),
        ({"rho_a": float("nan")}, "got nan"),
        ({"batch_size": 1}, "batch_size must be at least 2 images, got 1"),
        ({"surrogate": "snet"}, "did you mean s-net"),
        ({"train_steps": 0}, "train_steps"),
        ({"samples": 0}, "samples"),
        ({"attacker_steps": -1}, "attacker_steps and crop_padding"),
        ({"random_resized_crop": True}, "crop_padding=4 are two kinds of random crops"),
        ({"crop_padding": -1}, "attacker_steps and crop_padding"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rem(**settings)
