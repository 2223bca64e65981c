"""The one projected-gradient step: attacks that craft noise and adversarial training share it.

Images and perturbations are on the [0, 1] scale. The network is in eval mode with frozen parameters, so images do not
influence each other and the batch size changes nothing but speed; perturbations stay float32 while the network runs
under autocast; nothing waits for the device inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.api import Budget
from bench.training.numbers import autocast

_SMALL = 1e-12  # keeps an L2 step finite where the gradient is zero


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Eval mode and no parameter gradients inside the block; restored after it, also when it raises.

    Every module gets its own mode back, every parameter its own `requires_grad`. Running statistics do not move.
    """
    modes = [(module, module.training) for module in model.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.eval()
        for parameter, _ in wanted:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, flag in wanted:
            parameter.requires_grad_(flag)


def pgd(
    model: nn.Module,
    images_01: Tensor,
    targets: Tensor,
    *,
    direction: Literal["minimize", "maximize"],
    budget: Budget,
    step_size: float,
    steps: int,
    start: Tensor | None = None,
    transform: Callable[[Tensor], Tensor] | None = None,
    samples: int = 1,
    at_once: int = 1,
    inner: Callable[[Tensor], Tensor] | None = None,
    box: Literal["project", "graph"] = "project",
) -> Tensor:
    """A perturbation that makes the cross-entropy small or large, by projected gradient steps.

    The first gradient is taken at the start as it is; the ball and the box are enforced after every step. An L-inf
    step moves each entry by `step_size` along the gradient's sign (not at all where the gradient is zero), an L2 step
    moves each image by `step_size` along its gradient.

    Args:
        model: float images in [0, 1] in, logits out; frozen and in eval mode meanwhile, whatever its mode was.
        images_01: float (B, C, H, W) in [0, 1]; not modified.
        targets: int64 (B,).
        direction: of the cross-entropy towards `targets`.
        budget: L-inf or L2 ball of the perturbation.
        step_size: on the [0, 1] scale.
        steps: gradient steps; with 0, the start after projection.
        start: (B, C, H, W) perturbation to begin with, not modified; zeros if None.
        transform: differentiable; called anew for every sample of every step, and draws for itself.
        samples: gradients summed for a step.
        at_once: samples that share their passes, as one batch of that many times the images: fewer and larger kernels
            for the same gradient, up to rounding.
        inner: gets the transformed images of such a batch, detached, and returns the points at which the gradient is
            taken; that gradient is pulled back through the transform alone, as if `inner` only added a constant.
        box: `project` keeps images plus perturbation in [0, 1] after every step; `graph` clips them inside the graph
            instead, so that no gradient flows where they saturate, and the result may leave [0, 1].

    Returns:
        float32 (B, C, H, W), detached.

    Raises:
        ValueError: for an L0 budget, another `direction` or `box`, and numbers that make no sense.
    """
    if direction not in ("minimize", "maximize") or box not in ("project", "graph"):
        raise ValueError(f"direction is minimize or maximize, box is project or graph, got {direction!r} and {box!r}")
    if not (math.isfinite(step_size) and step_size >= 0) or steps < 0 or min(samples, at_once) < 1:
        raise ValueError(
            "pgd needs step_size >= 0, steps >= 0, samples >= 1 and at_once >= 1, got "
            f"{step_size}, {steps}, {samples} and {at_once}"
        )
    clean = images_01.detach().float()
    project = _projection(clean, budget, box == "project")
    delta = torch.zeros_like(clean) if start is None else torch.empty_like(clean).copy_(start.detach())
    if steps == 0:
        return project(delta)
    signed = step_size if direction == "maximize" else -step_size
    with frozen(model), torch.enable_grad():
        for _ in range(steps):
            gradient = _gradient(model, clean, delta, targets, transform, samples, at_once, inner, box == "graph")
            delta = project(delta.add(_unit(gradient, budget), alpha=signed))
    return delta


def random_start(images_01: Tensor, budget: Budget, generator: torch.Generator) -> Tensor:
    """A perturbation drawn uniformly from the ball, float32 like the images, on the generator's device.

    Images plus this may leave [0, 1].
    """
    shape, device = images_01.shape, generator.device
    if budget.norm == "linf":
        return (2 * torch.rand(shape, generator=generator, device=device) - 1) * budget.radius
    if budget.norm == "l2":
        direction = torch.randn(shape, generator=generator, device=device)
        distance = torch.rand(len(direction), generator=generator, device=device) ** (1 / math.prod(shape[1:]))
        return direction * (budget.radius * distance / (_norms(direction).flatten() + _SMALL)).view(-1, 1, 1, 1)
    raise _unsupported(budget)


def step_across(radius: float, steps: int, radii: float = 2.0) -> float:
    """The size of a step of which `steps` go `radii` radii together, but no step more than one.

    So a preset that saves steps, or a budget other than the papers', still reaches the border of the ball.
    """
    return radius * min(1.0, radii / max(1, steps))


def _gradient(
    model: nn.Module,
    clean: Tensor,
    delta: Tensor,
    targets: Tensor,
    transform: Callable[[Tensor], Tensor] | None,
    samples: int,
    at_once: int,
    inner: Callable[[Tensor], Tensor] | None,
    clip: bool,
) -> Tensor:
    """Gradient of the summed cross-entropy with respect to the perturbation, summed over the samples."""
    total: Tensor | None = None
    for done in range(0, samples, at_once):
        count = min(at_once, samples - done)
        leaf = delta.detach().requires_grad_()
        seen = clean + leaf
        if clip:
            seen = seen.clamp(0, 1)
        if transform is not None:
            seen = torch.cat([transform(seen) for _ in range(count)]) if count > 1 else transform(seen)
        elif count > 1:
            seen = seen.repeat(count, 1, 1, 1)
        wanted = targets.repeat(count) if count > 1 else targets
        if inner is None:
            (gradient,) = torch.autograd.grad(_loss(model, seen, wanted), leaf)
        else:
            point = inner(seen.detach()).detach().requires_grad_()
            (at_point,) = torch.autograd.grad(_loss(model, point, wanted), point)
            (gradient,) = torch.autograd.grad(seen, leaf, at_point.to(seen.dtype))
        total = gradient if total is None else total + gradient
    assert total is not None
    return total


def _loss(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    # A sum and not a mean: the same sign, and small gradients of large batches do not vanish in bfloat16.
    with autocast(images.device):
        logits = model(images)
    return functional.cross_entropy(logits.float(), targets, reduction="sum")


def _unit(gradient: Tensor, budget: Budget) -> Tensor:
    if budget.norm == "linf":
        return gradient.sign()
    return gradient / (_norms(gradient) + _SMALL)


def _projection(clean: Tensor, budget: Budget, into_box: bool) -> Callable[[Tensor], Tensor]:
    """Onto the ball, then (if asked) to where clean images plus perturbation are in [0, 1].

    The box is a clamp of the perturbation itself: adding and subtracting the image would round it at every step.
    """
    radius = budget.radius
    if budget.norm == "linf":
        if not into_box:
            return lambda delta: delta.clamp(-radius, radius)
        # Both are intervals around 0, so that one clamp does both, in either order.
        low, high = (-clean).clamp(min=-radius), (1 - clean).clamp(max=radius)
        return lambda delta: delta.clamp(low, high)
    if budget.norm == "l2":
        low, high = -clean, 1 - clean

        def project(delta: Tensor) -> Tensor:
            inside = delta * (radius / _norms(delta).clamp(min=_SMALL)).clamp(max=1)
            return inside.clamp(low, high) if into_box else inside

        return project
    raise _unsupported(budget)


def _norms(delta: Tensor) -> Tensor:
    """L2 norm of every image, (B, 1, 1, 1)."""
    norms: Tensor = torch.linalg.vector_norm(delta, dim=(1, 2, 3), keepdim=True)
    return norms


def _unsupported(budget: Budget) -> ValueError:
    return ValueError(f"gradient steps need an linf or l2 budget, got {budget}")
