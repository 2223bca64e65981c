"""The shared projected-gradient step against a slow and obvious one, and its invariants."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bench.api import Budget
from bench.registry.source import _closure
from bench.training.pgd import frozen, pgd, random_start, step_across

SHAPE = (3, 6, 5)


def network(seed=0, classes=4):
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.Tanh(), nn.Flatten(), nn.Linear(150, classes)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        model[1].running_mean.normal_(generator=generator)
        model[1].running_var.uniform_(0.5, 2, generator=generator)
    return model.eval()


def batch(count=6, seed=1, edges=True):
    """Random images, a third of whose entries are black or white."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, *SHAPE, generator=generator)
    if edges:
        images = (3 * images - 1).clamp(0, 1)
    return images, torch.arange(count) % 4


def obvious(model, images, targets, sign, budget, step_size, steps, start=None):
    """One image at a time, in float64, entry by entry where it matters."""
    model = network().double().eval() if model is None else model
    results = []
    for i, (image, target) in enumerate(zip(images.double(), targets, strict=True)):
        delta = torch.zeros_like(image) if start is None else start[i].double()
        for _ in range(steps):
            leaf = delta.clone().requires_grad_()
            logits = model((image + leaf)[None])[0]
            loss = torch.logsumexp(logits, 0) - logits[target]
            loss.backward()
            if budget.norm == "linf":
                moved = delta + sign * step_size * leaf.grad.sign()
                moved = torch.minimum(torch.maximum(moved, torch.tensor(-budget.radius)), torch.tensor(budget.radius))
            else:
                moved = delta + sign * step_size * leaf.grad / (leaf.grad.square().sum().sqrt() + 1e-12)
                norm = float(moved.square().sum().sqrt())
                moved = moved * min(1.0, budget.radius / norm) if norm else moved
            delta = (image + moved).clamp(0, 1) - image
        results.append(delta)
    return torch.stack(results)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("budget", [Budget("linf", 8 / 255), Budget("l2", 0.5)])
@pytest.mark.parametrize("started", [False, True])
def test_equals_the_obvious_implementation(direction, budget, started):
    images, targets = batch()
    start = random_start(images, budget, torch.Generator().manual_seed(3)) if started else None
    options = {"budget": budget, "step_size": budget.radius / 3, "steps": 5, "start": start}
    found = pgd(network(), images, targets, direction=direction, **options)
    sign = {"minimize": -1, "maximize": 1}[direction]
    expected = obvious(network().double(), images, targets, sign, **options)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    torch.testing.assert_close(found.double(), expected, atol=2e-5, rtol=0)


@settings(max_examples=25)
@given(
    norm=st.sampled_from(["linf", "l2"]),
    radius=st.floats(0, 1),
    step_size=st.floats(0, 2),
    steps=st.integers(0, 3),
    spread=st.floats(0, 3),
    seed=st.integers(0, 5),
)
def test_stays_in_ball_and_box(norm, radius, step_size, steps, spread, seed):
    images, targets = batch(3, seed)
    start = spread * torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    kept = images.clone(), start.clone()
    options = {"budget": Budget(norm, radius), "step_size": step_size, "steps": steps, "start": start}
    for box in ("project", "graph"):
        delta = pgd(network(), images, targets, direction="maximize", box=box, **options)
        sizes = delta.abs().amax(dim=(1, 2, 3)) if norm == "linf" else delta.flatten(1).norm(dim=1)
        assert float(sizes.max()) <= radius * (1 + 1e-5) + 1e-7
        if box == "project":
            assert 0 <= float((images + delta).min()) <= float((images + delta).max()) <= 1
    assert torch.equal(images, kept[0])
    assert torch.equal(start, kept[1])


def test_the_ball_comes_before_the_box():
    # L2, two entries that count: (3, 4) is scaled to (0.3, 0.4), and then 0.4 does not fit above 0.9.
    images = torch.tensor([0.0, 0.9]).view(1, 1, 1, 2)
    start = torch.tensor([3.0, 4.0]).view(1, 1, 1, 2)
    delta = pgd(
        nn.Flatten(),
        images,
        torch.tensor([0]),
        direction="maximize",
        budget=Budget("l2", 0.5),
        step_size=0.1,
        steps=0,
        start=start,
    )
    torch.testing.assert_close(delta.flatten(), torch.tensor([0.3, 0.1]))


def test_no_steps_without_a_start_is_no_perturbation():
    images, targets = batch()
    delta = pgd(network(), images, targets, direction="minimize", budget=Budget("linf", 0.1), step_size=0.1, steps=0)
    assert not delta.any()


def test_the_first_gradient_is_taken_at_the_start_as_it_is():
    # The loss is largest where the start is, far outside of the ball; projecting first would turn the sign.
    class Peak(nn.Module):
        def forward(self, images):
            distance = (images.flatten(1) - 3).square().sum(1)
            return torch.stack([distance, torch.zeros_like(distance)], dim=1)

    images = torch.full((1, 1, 1, 1), 0.5)
    options = {"direction": "minimize", "budget": Budget("linf", 0.2), "step_size": 0.05, "steps": 1}
    beyond, inside = (
        pgd(Peak(), images, torch.tensor([0]), start=torch.full_like(images, value), **options) for value in (4.0, 0.1)
    )
    assert beyond.item() == pytest.approx(0.2)  # moved up from 4 and then into the ball
    assert inside.item() == pytest.approx(0.05)  # moved down


def test_an_entry_without_gradient_does_not_move():
    images, targets = batch()
    weights = torch.ones(SHAPE)
    weights[:, 2] = 0

    class Blind(nn.Module):
        def forward(self, images):
            return model(images * weights)

    model = network()
    delta = pgd(Blind(), images, targets, direction="maximize", budget=Budget("linf", 0.1), step_size=0.02, steps=3)
    assert not delta[:, :, 2].any()
    assert delta[:, :, 1].any()
    flat = pgd(
        nn.Sequential(nn.Flatten(), nn.Linear(90, 4)).requires_grad_(False).apply(_zero),
        images,
        targets,
        direction="maximize",
        budget=Budget("l2", 0.5),
        step_size=0.1,
        steps=2,
    )
    assert not flat.any(), "an L2 step along no gradient is no step"


def _zero(module):
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.weight)


@pytest.mark.parametrize("budget", [Budget("linf", 0.05), Budget("l2", 0.5)])
def test_the_batch_size_changes_nothing(budget):
    images, targets = batch(7)
    model = network().train()  # batch statistics must play no part
    options = {"direction": "maximize", "budget": budget, "step_size": 0.02, "steps": 4}
    whole = pgd(model, images, targets, **options)
    parts = [pgd(model, images[i : i + 2], targets[i : i + 2], **options) for i in range(0, 7, 2)]
    torch.testing.assert_close(whole, torch.cat(parts), atol=1e-6, rtol=0)


def test_a_batch_does_not_water_down_small_gradients():
    images, targets = batch(8)
    model = network()
    with torch.no_grad():
        model[4].weight.mul_(1e-12)
    options = {"direction": "maximize", "budget": Budget("l2", 0.5), "step_size": 0.1, "steps": 1}
    whole = pgd(model, images, targets, **options)
    torch.testing.assert_close(whole[:1], pgd(model, images[:1], targets[:1], **options))


def loss(model, images, targets):
    with torch.no_grad():
        return nn.functional.cross_entropy(model(images), targets)


@pytest.mark.parametrize("budget", [Budget("linf", 8 / 255), Budget("l2", 0.5)])
def test_directions(budget):
    images, targets = batch()
    model = network()
    options = {"budget": budget, "step_size": budget.radius / 4, "steps": 8}
    low, high = (pgd(model, images, targets, direction=d, **options) for d in ("minimize", "maximize"))
    assert loss(model, images + low, targets) < loss(model, images, targets) < loss(model, images + high, targets)


def test_clipping_in_the_graph_stops_the_gradient_of_saturated_entries():
    images, targets = torch.zeros(2, *SHAPE), torch.tensor([0, 1])
    start = torch.full_like(images, -0.01)
    start[:, 0] = 0.01
    options = {"direction": "minimize", "budget": Budget("linf", 0.1), "step_size": 0.02, "steps": 3, "start": start}
    delta = pgd(network(), images, targets, box="graph", **options)
    assert torch.equal(delta[:, 1:], start[:, 1:]), "black entries pushed down must stay where they are"
    assert not torch.equal(delta[:, 0], start[:, 0])
    assert float(delta.min()) < 0, "and nothing projects them back into [0, 1]"


def test_draws_a_transform_for_every_sample_of_every_step():
    images, targets = batch(2)
    seen = []

    def transform(moved):
        seen.append(moved.detach())
        return moved.flip(-1) if len(seen) % 2 else moved

    options = {"budget": Budget("linf", 0.1), "step_size": 0.02, "direction": "maximize"}
    found = pgd(network(), images, targets, steps=1, samples=2, transform=transform, **options)
    assert len(seen) == 2
    leaf = torch.zeros_like(images, requires_grad=True)
    model = network()
    for flipped in (True, False):
        shown = (images + leaf).flip(-1) if flipped else images + leaf
        nn.functional.cross_entropy(model(shown), targets, reduction="sum").backward()
    expected = (0.02 * leaf.grad.sign()).clamp(-images, 1 - images)
    torch.testing.assert_close(found, expected)
    pgd(network(), images, targets, steps=3, samples=5, transform=transform, **options)
    assert len(seen) == 2 + 15


def test_an_inner_point_gives_the_gradient_and_only_the_transform_pulls_it_back():
    # One pixel, logits (z^3, 0), target 0: the gradient of the loss at z is -3 z^2 / (1 + exp(z^3)). An L2 step of a
    # single entry has the sign alone, so two entries: their ratio tells where the gradient was taken.
    class Cubes(nn.Module):
        def forward(self, images):
            total = images.flatten(1).pow(3).sum(1)
            return torch.stack([total, torch.zeros_like(total)], dim=1)

    images = torch.tensor([0.2, 0.4]).view(1, 1, 1, 2)
    given = []

    def inner(shown):
        assert not shown.requires_grad
        given.append(shown.clone())
        return shown + torch.tensor([0.4, 0.0])  # a constant to the gradient

    delta = pgd(
        Cubes(),
        images,
        torch.tensor([0]),
        direction="minimize",
        budget=Budget("l2", 1),
        step_size=0.1,
        steps=1,
        transform=lambda shown: shown * torch.tensor([1.0, 0.5]),
        inner=inner,
    )
    torch.testing.assert_close(given[0].flatten(), torch.tensor([0.2, 0.2]))
    # At the point (0.6, 0.2) the gradient is in proportion to (0.36, 0.04); the transform halves the second entry.
    expected = 0.1 * torch.tensor([0.36, 0.02]) / math.hypot(0.36, 0.02)
    torch.testing.assert_close(delta.flatten(), expected)


def test_an_inner_attack_may_use_the_same_model():
    images, targets = batch(3)
    model = network().train()
    options = {"budget": Budget("linf", 0.05), "step_size": 0.02}

    def inner(shown):
        return shown + pgd(model, shown, targets, direction="maximize", steps=2, **options)

    delta = pgd(model, images, targets, direction="minimize", steps=2, inner=inner, **options)
    assert delta.any()
    assert model.training


def test_the_model_is_left_as_it_was():
    images, targets = batch()
    model = network().train()
    model[4].eval()
    model[0].bias.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for budget in (Budget("linf", 0.1), Budget("l2", 1)):
        pgd(model, images, targets, direction="maximize", budget=budget, step_size=0.1, steps=2)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), "buffers moved"
    assert [m.training for m in model] == [True, True, True, True, False]
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["0.bias"]
    assert all(p.grad is None for p in model.parameters())


def _fail_while_frozen(model):
    with frozen(model):
        assert not any(m.training for m in model.modules())
        assert not any(p.requires_grad for p in model.parameters())
        raise KeyError


def test_frozen_restores_after_an_exception():
    model = network().train()
    model[1].eval()
    with pytest.raises(KeyError):
        _fail_while_frozen(model)
    assert [m.training for m in model.modules()] == [True, True, False, True, True, True]
    assert all(p.requires_grad for p in model.parameters())


def test_works_where_gradients_are_off():
    images, targets = batch(2)
    options = {"direction": "maximize", "budget": Budget("linf", 0.1), "step_size": 0.1, "steps": 1}
    expected = pgd(network(), images, targets, **options)
    with torch.no_grad():
        assert torch.equal(pgd(network(), images, targets, **options), expected)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_random_start_fills_the_ball_and_repeats(norm):
    images, _ = batch(200)
    draw = [random_start(images, Budget(norm, 0.5), torch.Generator().manual_seed(2)) for _ in range(2)]
    assert torch.equal(*draw)
    if norm == "linf":
        assert 0.49 < float(draw[0].abs().max()) <= 0.5
        assert float(draw[0].abs().mean()) == pytest.approx(0.25, abs=0.01)
        return
    sizes = draw[0].flatten(1).norm(dim=1)
    assert float(sizes.max()) <= 0.5 + 1e-6
    assert float((sizes < 0.5 * 0.5 ** (1 / 90)).float().mean()) == pytest.approx(0.5, abs=0.12)  # half of the volume


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget": Budget("l0", 3)}, "linf or l2"),
        ({"direction": "down"}, "direction is minimize or maximize"),
        ({"box": "none"}, "box is project or graph"),
        ({"step_size": float("nan")}, "step_size >= 0"),
        ({"steps": -1}, "steps >= 0"),
        ({"samples": 0}, "samples >= 1"),
    ],
)
def test_nonsense_is_refused(change, message):
    images, targets = batch(2)
    options = {"direction": "maximize", "budget": Budget("linf", 0.1), "step_size": 0.1, "steps": 1}
    with pytest.raises(ValueError, match=message):
        pgd(network(), images, targets, **(options | change))
    with pytest.raises(ValueError, match="linf or l2"):
        random_start(images, Budget("l0", 3), torch.Generator())


def test_never_waits_for_the_device(no_reading):
    images, targets = batch(2)
    with no_reading():
        for budget in (Budget("linf", 0.1), Budget("l2", 1)):
            start = random_start(images, budget, torch.Generator())
            pgd(network(), images, targets, direction="maximize", budget=budget, step_size=0.1, steps=2, start=start)


def test_what_imports_it_depends_on_its_source():
    assert "bench.training.pgd" in _closure("defenses.adversarial_training")
    assert "bench.training.pgd" not in _closure("defenses.iss")


@given(st.floats(1e-3, 4), st.integers(1, 1000), st.floats(1, 20))
def test_steps_of_the_rule_cross_the_ball_whatever_their_number(radius, steps, radii):
    step = step_across(radius, steps, radii)
    assert 0 < step <= radius
    assert steps * step == pytest.approx(radius * min(steps, radii))
