"""Adaptive attacks through a defense that is trained on the poison first."""

from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor

from attacks.adaptive import Adaptive
from bench.api import DataInfo, ImageSet
from bench.errors import ContractError
from bench.registry import attacks
from bench.select.spec import select
from bench.stages.crafting import craft
from bench.training.surrogates import build_surrogate, labeled

QUICK = {
    "em": {"steps": 1, "batch_size": 10, "lr": 0.05, "batches_per_round": 3, "max_rounds": 2, "stop_error": 0},
    "rem": {"train_steps": 2, "batch_size": 10, "steps": 2, "attacker_steps": 1, "samples": 2},
    "tap": {"surrogate_epochs": 1, "batch_size": 10, "steps": 2, "restarts": 1},
    "hypo": {"surrogate_epochs": 1, "batch_size": 10, "steps": 2},
    "sep": {"surrogate_epochs": 2, "checkpoints": 2, "batch_size": 10, "steps": 2},
}
DVAE = "dvae:network=tiny:epochs=1:warmup_epochs=0:batch_size=8:lr=1e-2"


def attack(text: str):
    (selected,) = select(attacks, text, {name: {**values, "surrogate": "s-net"} for name, values in QUICK.items()})
    return selected.component


def gray_levels(count: int = 24) -> ImageSet:
    """Images of one gray level each, 40 levels from class to class, so that every image tells its class."""
    labels = torch.arange(count) % 4
    images = (60 + 40 * labels).view(-1, 1, 1, 1).expand(count, 3, 16, 16).to(torch.uint8).contiguous()
    return ImageSet(images, labels, DataInfo("gray-levels", 4, (3, 16, 16)))


@dataclass
class Watched:
    """A defense of no effect that compares the labels it gets with what the images tell."""

    passes: int = 0
    met: list[ImageSet] = field(default_factory=list)

    def fit_differentiable(self, train: ImageSet, ctx):
        self.met.append(train)

        def see(images_01: Tensor, labels: Tensor) -> Tensor:
            middle = 255 * images_01[:, :, 6:10, 6:10].flatten(1)
            if middle.std(1).max() < 15:  # not the random images of a rehearsal
                assert torch.equal(((middle.mean(1) - 60) / 40).round().to(torch.int64), labels)
                self.passes += 1
            return images_01

        return see


@pytest.mark.parametrize("base", ["em", "em:mode=class", "rem", "tap", "tap:targeted=false", "hypo", "sep"])
def test_the_defense_gets_the_labels_of_the_images_at_every_pass(make_context, base: str) -> None:
    train, watched = gray_levels(), Watched()
    adaptive = Adaptive(base, "watched").with_others(attack(base), watched)
    found, _ = craft(adaptive, train, make_context())
    assert watched.passes > 4
    own, _ = craft(attack(base), train, replace(make_context(), scope=base.partition(":")[0]))
    assert torch.equal(watched.met[0].images, own.images), "trained on what the attack makes without knowledge"
    assert not torch.equal(own.images, train.images)
    assert torch.equal(found.images, own.images), "a defense of no effect changes nothing, draws included"


def test_labels_follow_the_images_through_several_passes_and_repetitions(make_context) -> None:
    seen: list[list[int] | None] = []

    def see(images_01: Tensor, labels: Tensor | None) -> Tensor:
        seen.append(None if labels is None else labels.tolist())
        return images_01

    surrogate = build_surrogate("s-net", DataInfo("x", 9, (3, 16, 16)), replace(make_context(), through=see)).eval()
    with labeled(surrogate, torch.tensor([5, 6, 7])):
        surrogate(torch.rand(2, 3, 16, 16))
        with labeled(surrogate, torch.tensor([1, 2])):
            surrogate(torch.rand(4, 3, 16, 16))
        surrogate(torch.rand(1, 3, 16, 16))
        surrogate(torch.rand(3, 3, 16, 16))
    surrogate(torch.rand(1, 3, 16, 16))
    assert seen == [[5, 6], [1, 2, 1, 2], [7], [5, 6, 7], None]


def test_images_without_labels_are_refused(make_context) -> None:
    adaptive = Adaptive("em", "dvae").with_others(attack("em"), Watched())
    see = adaptive._seen(gray_levels(), make_context())
    with pytest.raises(ContractError, match="through=dvae needs the labels"):
        see(torch.rand(2, 3, 16, 16), None)


def test_the_noise_is_found_through_the_trained_purifier(learnable_set, make_context) -> None:
    train: ImageSet = learnable_set(count=24)

    def found(text: str) -> tuple[Tensor, dict[str, object]]:
        context = make_context()
        return craft(attack(text), train, context)[0].images, context.logs

    through = f'adaptive:base=em:through="{DVAE}:stages=1"'
    (first, logs), (again, _) = found(through), found(through)
    assert torch.equal(first, again)
    assert (first.int() - train.images.int()).abs().max() <= 8
    assert not torch.equal(first, found("em")[0])
    assert "dvae.stage1_kld" in logs, "the purifier's figures are the attack's"
