"""Contracts of plug-ins, as functions; `bench check` runs them, and the test suite does on the whole registry.

Each check takes the component and raises ContractError with what was wrong. A contract says to which components its
check applies: the others have nothing that could break it, and it is neither run nor counted for them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bench.api import ChangesRecipe, Context, ImageSet, Purifies, Recipe, StacksOn, TrainsDifferently
from bench.api.engine import Engine, Precision
from bench.check.kept_state import kept
from bench.datasets.loading import Splits, content_digest
from bench.errors import ContractError
from bench.plan import faces
from bench.select.spec import Selected
from bench.stages.execute import changed_recipe
from bench.stages.invariants import check_budget, check_same_kind
from bench.stages.poisoning import craft
from bench.training import autocast, seeded, to_float

Check = Callable[[Selected, Splits], None]

_BFLOAT16_SHARE = 0.05  # of a loss; the built-in ones differ by a thousandth
_STEPS = 8  # batches: no draw of several values is the same in all of them by chance


@dataclass(frozen=True)
class Contract:
    """A check, and which components it is about.

    Attributes:
        check: raises ContractError with what was wrong.
        applies: whether a component has what the check is about.
    """

    check: Check
    applies: Callable[[Selected], bool] = lambda selected: True

    @property
    def name(self) -> str:
        """Of the check: what is promised."""
        return self.check.__name__


@contextmanager
def _context(selected: Selected, seed: int = 0) -> Iterator[Context]:
    with tempfile.TemporaryDirectory() as scratch:
        yield Context(seed, torch.device("cpu"), Path(scratch), selected.name)


def _demand(condition: bool, message: str) -> None:
    if not condition:
        raise ContractError(message)


def _result(selected: Selected, images: ImageSet, seed: int = 0) -> ImageSet:
    """Result of the attack or defense on the images (a copy: scratch files are gone afterwards)."""
    with _context(selected, seed) as ctx:
        if hasattr(selected.component, "budget"):
            result, _ = craft(selected.component, images, ctx)
        else:
            result = selected.component.purify(images, ctx)
        return replace(result, images=result.images.clone()) if isinstance(result, ImageSet) else result


def keeps_shape_and_labels(selected: Selected, tiny: Splits) -> None:
    """uint8 images of the same count, order and size, with the same labels."""
    check_same_kind(selected.name, _result(selected, tiny.train), tiny.train)


def leaves_its_input_alone(selected: Selected, tiny: Splits) -> None:
    """The input is not modified in place."""
    before = content_digest(tiny.train)
    _result(selected, tiny.train)
    _demand(content_digest(tiny.train) == before, "modifies its input in place; work on a copy")


def repeats_with_the_same_seed(selected: Selected, tiny: Splits) -> None:
    """The same seed gives the same bytes, whatever the process drew before."""
    torch.manual_seed(1)
    once = _result(selected, tiny.train)
    torch.manual_seed(2)
    again = _result(selected, tiny.train)
    _demand(
        torch.equal(once.images, again.images),
        "two runs with the same seed differ; draw all random numbers from ctx.generator(purpose)",
    )


def ignores_its_seed_if_deterministic(selected: Selected, tiny: Splits) -> None:
    """A component registered as deterministic gives the same bytes for every seed."""
    one, two = (_result(selected, tiny.train, seed).images for seed in (0, 1))
    _demand(torch.equal(one, two), "is registered deterministic=True but depends on its seed")


def takes_other_class_counts(selected: Selected, tiny: Splits) -> None:
    """Works with three classes and an odd number of images."""
    rows = (tiny.train.labels < 3).nonzero().flatten()
    rows = rows[: len(rows) - (len(rows) % 2 == 0)]
    few = tiny.train.take(rows)
    few = replace(few, info=replace(few.info, num_classes=3))
    check_same_kind(selected.name, _result(selected, few), few)


def respects_its_budget(selected: Selected, tiny: Splits) -> None:
    """The perturbation stays within the declared budget after rounding to 8 bits."""
    with _context(selected) as ctx:
        poisoned, mask = craft(selected.component, tiny.train, ctx)
        check_budget(selected.name, selected.component.budget, poisoned, tiny.train, mask)


def works_in_bfloat16(selected: Selected, tiny: Splits) -> None:
    """In what a GPU computes in by default it keeps shape, labels and, if it is an attack, its budget."""
    with Engine(precision="bfloat16").applied():
        (respects_its_budget if hasattr(selected.component, "budget") else keeps_shape_and_labels)(selected, tiny)


def stacks_as_it_poisons(selected: Selected, tiny: Splits) -> None:
    """Onto clean images an attack of a chain writes what it writes alone; onto others it keeps its budget."""
    attack: Any = selected.component
    clean = tiny.train
    with _context(selected) as ctx:
        onto_clean = attack.poison_onto(clean, replace(clean, images=clean.images.clone()), ctx).images.clone()
    with _context(selected) as ctx:
        same = torch.equal(onto_clean, attack.poison(clean, ctx).images)
    _demand(same, "poison_onto(clean, clean) differs from poison(clean)")
    negative = replace(clean, images=255 - clean.images)
    with _context(selected) as ctx:
        result = attack.poison_onto(clean, negative, ctx)
        check_same_kind(selected.name, result, clean)
        check_budget(selected.name, attack.budget, result, negative, torch.ones(len(clean), dtype=torch.bool))


def keeps_nothing_between_stages(selected: Selected, tiny: Splits) -> None:
    """Every run pays for all it does: nothing that an earlier run computed is kept in modules, classes or files."""
    if found := kept(selected, tiny.train):
        raise ContractError(found)


def view_is_a_view(selected: Selected, tiny: Splits) -> None:
    """The test-time view keeps shape and type, does not depend on the batch and leaves its input alone."""
    images = tiny.test.images
    before = images.clone()
    viewed = selected.component.view(images)
    _demand(torch.equal(images, before), "view modifies the test images in place")
    check_same_kind("view", replace(tiny.test, images=viewed), tiny.test)
    one_by_one = torch.cat([selected.component.view(images[i : i + 1]) for i in range(len(images))])
    _demand(torch.equal(viewed, one_by_one), "view depends on the batch; it must see each image alone")


def batch_loss_is_a_loss(selected: Selected, tiny: Splits) -> None:
    """The training-time loss is a finite scalar whose gradient reaches the model, once."""
    model = _network(tiny)
    loss = _losses(selected, model, tiny, batches=1)[0]
    _demand(loss.ndim == 0 and bool(torch.isfinite(loss)), f"batch_loss must be a finite scalar, got {loss}")
    _demand(
        all(p.grad is None for p in model.parameters()),
        "batch_loss leaves gradients in the parameters; take inner gradients with torch.autograd.grad(loss, images)",
    )
    loss.backward()  # type: ignore[no-untyped-call]
    _demand(all(p.grad is not None for p in model.parameters()), "batch_loss has no gradient to the model")


def batch_loss_is_the_same_in_bfloat16(selected: Selected, tiny: Splits) -> None:
    """In what a GPU computes in by default the loss is that of float32, within 5 %."""
    found = []
    for precision in get_args(Precision):
        with Engine(precision=precision).applied(), autocast(torch.device("cpu")):
            found.append(_losses(selected, _network(tiny), tiny, batches=1)[0].item())
    expected, got = found
    _demand(
        abs(got - expected) <= _BFLOAT16_SHARE * abs(expected),
        f"the loss is {expected:g} in float32 and {got:g} in bfloat16; take .float() of what the network returns",
    )


def batch_loss_leaves_the_model_as_it_was(selected: Selected, tiny: Splits) -> None:
    """Parameters, modes and requires_grad stay, module by module; no inner attack moves running statistics."""
    model = _network(tiny)
    model[1].eval()  # a network that is partly frozen
    model[1].requires_grad_(False)
    weights = [p.detach().clone() for p in model.parameters()]
    _losses(selected, model, tiny, batches=1)
    _demand(
        [m.training for m in model] == [True, False, True, True, True, True, True, True],
        "batch_loss does not leave every module in the mode it was in",
    )
    _demand(
        [p.requires_grad for p in model.parameters()] == [True, True, False, False, True, True, True, True],
        "batch_loss does not leave every parameter's requires_grad as it was",
    )
    _demand(
        all(torch.equal(p, before) for p, before in zip(model.parameters(), weights, strict=True)),
        "batch_loss changes parameters; that is the optimizer's part",
    )
    _demand(
        not _moved_inside(selected, tiny),
        "batch_loss takes a gradient inside of it in train mode, which moves the running statistics by images that "
        "the loss does not use; put the model in eval mode meanwhile (bench.training.pgd.frozen)",
    )


def batch_loss_repeats_with_the_same_seed(selected: Selected, tiny: Splits) -> None:
    """The same seed gives the same losses, whatever the process drew before."""
    found = []
    for other in (1, 2):
        model = _network(tiny)
        torch.manual_seed(other)
        found.append(torch.stack(_losses(selected, model, tiny, batches=2)).detach())
    _demand(
        torch.equal(*found),
        f"two runs with the same seed differ ({found[0].tolist()} and {found[1].tolist()}); "
        "draw all random numbers from ctx.stream(purpose)",
    )


def batch_loss_draws_anew_at_every_batch(selected: Selected, tiny: Splits) -> None:
    """No random draw of torch gives the same numbers at every batch.

    A draw that is meant to be fixed is made once, in ctx.state. One that holds a single value (a coin, a probability
    of 1) says nothing and is not looked at, nor are generators outside of torch.
    """
    model, batch = _network(tiny), tiny.train.take(torch.arange(8))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    steps: list[list[tuple[str, Tensor]]] = []
    with _context(selected) as ctx:
        for _ in range(1 + _STEPS):
            watch = _Draws()
            with watch:
                _loss(selected, model, batch, ctx)
            model.load_state_dict(before)
            steps.append(watch.found)
    for draws in zip(*steps[1:], strict=False):  # without the batch that may have made what is kept
        name, first = draws[0]
        repeated = all(other == name and torch.equal(values, first) for other, values in draws)
        _demand(
            not repeated or bool((first == first.flatten()[0]).all()),
            f"torch.{name} draws the same numbers at each of {_STEPS} batches; draw from ctx.stream(purpose), which "
            "continues its sequence, or draw once in ctx.state if the numbers shall stay",
        )


def changed_recipe_is_a_recipe(selected: Selected, tiny: Splits) -> None:
    """A defense that changes the recipe makes a Recipe of each, the same every time; plans try every victim's."""
    for recipe in (Recipe(), Recipe(epochs=10, schedule="cosine", warmup_epochs=0.5), Recipe(schedule="one-cycle")):
        once, again = (changed_recipe(selected.component, recipe) for _ in range(2))
        _demand(once == again, f"change_recipe gives {once} and then {again} for the same recipe")


def _network(tiny: Splits) -> torch.nn.Sequential:
    """A small network with batch normalization, in train mode; the same weights every time."""
    channels, classes = tiny.train.info.shape[0], tiny.train.info.num_classes
    with seeded(torch.Generator().manual_seed(0), torch.device("cpu")):
        return torch.nn.Sequential(
            torch.nn.Conv2d(channels, 8, 3, stride=2, padding=1),
            torch.nn.BatchNorm2d(8),
            torch.nn.ReLU(),
            torch.nn.Conv2d(8, 8, 3, stride=2, padding=1),
            torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(2),
            torch.nn.Flatten(),
            torch.nn.Linear(32, classes),
        ).train()


def _losses(selected: Selected, model: torch.nn.Module, tiny: Splits, batches: int) -> list[Tensor]:
    """The losses of the first batches of eight images, under one context."""
    parts = [tiny.train.take(torch.arange(8 * i, 8 * i + 8)) for i in range(batches)]
    with _context(selected) as ctx:
        return [_loss(selected, model, part, ctx) for part in parts]


def _loss(selected: Selected, model: torch.nn.Module, batch: ImageSet, ctx: Context) -> Tensor:
    with ctx.training_step():
        loss: Tensor = selected.component.batch_loss(model, to_float(batch.images), batch.labels, ctx)
    return loss


class _Draws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Name and result of every operation of torch that takes random numbers, in the order of their calls."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[tuple[str, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in func.tags and isinstance(result, Tensor) and result.numel():
            self.found.append((func.overloadpacket.__name__.strip("_"), result.detach().clone()))
        return result


def _moved_inside(selected: Selected, tiny: Splits) -> bool:
    """True if a gradient arrives at the logits of a train-mode forward pass before `batch_loss` returns."""
    model = _network(tiny)
    arrived: list[Tensor] = []

    def watch(module: torch.nn.Module, inputs: object, logits: Tensor) -> None:
        if module.training and logits.requires_grad:
            logits.register_hook(arrived.append)  # type: ignore[no-untyped-call]

    handle = model[-1].register_forward_hook(watch)
    try:
        _losses(selected, model, tiny, batches=1)
    finally:
        handle.remove()
    return bool(arrived)


def builds_a_classifier(selected: Selected, tiny: Splits) -> None:
    """Logits (B, K) from float images in [0, 1], for one image and for several, the same in eval mode."""
    info = tiny.train.info
    model = selected.component.build(info).eval()
    images_01 = tiny.train.images[:4].float() / 255
    with torch.no_grad():
        logits: Tensor = model(images_01)
        one_by_one = torch.cat([model(image[None]) for image in images_01])
    _demand(tuple(logits.shape) == (4, info.num_classes), f"logits are {tuple(logits.shape)}, expected (4, K)")
    _demand(torch.allclose(logits, one_by_one, atol=1e-4), "logits depend on the batch in eval mode")


def trains(selected: Selected, tiny: Splits) -> None:
    """One step of the recipe's loss gives every parameter a finite gradient."""
    model = selected.component.build(tiny.train.info).train()
    logits = model(tiny.train.images[:8].float() / 255)
    torch.nn.functional.cross_entropy(logits, tiny.train.labels[:8]).backward()  # type: ignore[no-untyped-call]
    bad = [name for name, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    _demand(not bad, f"no finite gradient for {', '.join(bad[:5])}")
    _demand(selected.component.recipe.epochs >= 1, "the recipe has no epochs")


def trains_in_bfloat16(selected: Selected, tiny: Splits) -> None:
    """In what a GPU computes in by default it trains too."""
    with Engine(precision="bfloat16").applied(), autocast(torch.device("cpu")):
        trains(selected, tiny)


def _has_result(selected: Selected) -> bool:
    """True if it makes images of images: every attack, and a defense that purifies."""
    return isinstance(selected.component, Purifies) or hasattr(selected.component, "budget")


def _has_result_without_seed(selected: Selected) -> bool:
    return _has_result(selected) and selected.entry.deterministic


def _has(face: type) -> Callable[[Selected], bool]:
    return lambda selected: isinstance(selected.component, face)


_OF_RESULTS = (
    Contract(keeps_shape_and_labels, _has_result),
    Contract(leaves_its_input_alone, _has_result),
    Contract(repeats_with_the_same_seed, _has_result),
    Contract(ignores_its_seed_if_deterministic, _has_result_without_seed),
    Contract(takes_other_class_counts, _has_result),
    Contract(works_in_bfloat16, _has_result),
)


def _has_a_norm(selected: Selected) -> bool:
    return bool(selected.component.budget.norm != "none")


CONTRACTS: dict[str, tuple[Contract, ...]] = {
    "attacks": (
        *_OF_RESULTS,
        Contract(respects_its_budget, _has_a_norm),
        Contract(stacks_as_it_poisons, _has(StacksOn)),
    ),
    "defenses": (
        Contract(keeps_nothing_between_stages),  # first: it must see the first run of this process
        *_OF_RESULTS,
        Contract(view_is_a_view, lambda selected: faces(selected.component)["sees_test_images"]),
        Contract(batch_loss_is_a_loss, _has(TrainsDifferently)),
        Contract(batch_loss_is_the_same_in_bfloat16, _has(TrainsDifferently)),
        Contract(batch_loss_leaves_the_model_as_it_was, _has(TrainsDifferently)),
        Contract(batch_loss_repeats_with_the_same_seed, _has(TrainsDifferently)),
        Contract(batch_loss_draws_anew_at_every_batch, _has(TrainsDifferently)),
        Contract(changed_recipe_is_a_recipe, _has(ChangesRecipe)),
    ),
    "victims": (Contract(builds_a_classifier), Contract(trains), Contract(trains_in_bfloat16)),
}


def checks_of(kind: str, selected: Selected) -> list[Check]:
    """The checks that apply to a component of this kind (`defenses`, ...)."""
    return [contract.check for contract in CONTRACTS[kind] if contract.applies(selected)]
