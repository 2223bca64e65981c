"""Survey of the timm families that work as victims: one network of every family, at 32, 64 and 224 pixels.

`python -m victims.survey` builds the smallest network of every timm module with random weights and 10 classes, runs a
forward and a backward pass of two random images, and prints the table of docs/victims.md. Networks of more than 150
million parameters are left out. It takes some minutes on one CPU core.
"""

from __future__ import annotations

import torch
from torch import nn

from bench.api import DataInfo
from victims.timm_victims import TimmVictim

SIDES = (32, 64, 224)
LARGEST = 150_000_000


def smallest(family: str) -> tuple[str, int]:
    """(name, number of parameters with timm's own sizes and classes) of a timm module's smallest network."""
    import timm

    sizes = {}
    for name in timm.list_models(module=family):
        with torch.device("meta"):
            sizes[name] = count(timm.create_model(name))
    return min(sizes.items(), key=lambda item: item[1])


def count(model: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def attempt(name: str, side: int) -> nn.Module:
    """The network after a forward and a backward pass of two images with `side` pixels.

    Raises:
        ValueError: if it cannot take images of this size or a parameter has no finite gradient.
    """
    torch.manual_seed(0)
    model = TimmVictim(model=name).build(DataInfo("random", 10, (3, side, side))).train()
    loss = nn.functional.cross_entropy(model(torch.rand(2, 3, side, side)), torch.tensor([1, 7]))
    loss.backward()  # type: ignore[no-untyped-call]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    without = sum(parameter.grad is None for parameter in trained)
    infinite = sum(parameter.grad is not None and not bool(parameter.grad.isfinite().all()) for parameter in trained)
    if without or infinite:
        raise ValueError(f"{without} parameters without and {infinite} with an infinite gradient")
    return model


def row(family: str) -> str:
    """One line of the table."""
    name, parameters = smallest(family)
    if parameters > LARGEST:
        return f"| {family} | `{name}` | | | | | not tried: {parameters / 1e6:.0f} million parameters |"
    works: list[str] = []
    reasons: dict[str, list[str]] = {}
    at_32 = ""
    for side in SIDES:
        try:
            model = attempt(name, side)
        except (ValueError, RuntimeError) as error:
            works.append("no")
            reasons.setdefault(_reason(str(error)), []).append(str(side))
        else:
            works.append("yes")
            at_32 = f"{count(model):,}" if side == 32 else at_32
    why = "; ".join(f"{', '.join(sides)}: {reason}" for reason, sides in reasons.items())
    return f"| {family} | `{name}` | {' | '.join(works)} | {at_32} | {why} |"


def _reason(message: str) -> str:
    inside = message.rpartition("); it is made for")[0].partition(" channels (")[2] or message
    return inside.partition("\n")[0].partition("! Mismatching")[0].replace("|", "/")


def main() -> None:
    """Prints the table."""
    import timm

    print("| family (timm's module) | smallest network | 32 | 64 | 224 | parameters at 32 | why not |")
    print("|---|---|---|---|---|---|---|")
    for family in timm.list_modules():
        print(row(family), flush=True)


if __name__ == "__main__":
    main()
