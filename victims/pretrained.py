"""A timm network that starts from weights of a file, tuned in full or in its classifier alone.

Reviewers ask whether a poison works against a network that has already seen other images. Nothing is downloaded: the
user names a file that holds the network's own state dict.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from bench.api import DataInfo
from bench.datasets.tensor_files import digest_files, read_named
from bench.registry import victims
from victims.timm_victims import TimmVictim

_SUFFIXES = (".safetensors", ".pt", ".pth")
_SHOWN = 3


@victims.register("pretrained", uses=("pretrained-weights",))
@dataclass(frozen=True, kw_only=True)
class Pretrained(TimmVictim):
    """A timm network from weights of a file: `pretrained:weights.safetensors:model=resnet18`.

    The file holds a state dict: `torch.save(model.state_dict(), "weights.pt")` or safetensors. Names and shapes are
    those of the network as this harness builds it for the data set. timm's own weights need `stem=imagenet` on small
    images. A classifier for another number of classes is left out and starts anew; everything else has to fit.

    Attributes:
        path: of the weights: .safetensors, .pt or .pth, read without running any code in it.
        tune: `full`, or `head-only`: the classifier learns, and all before it stays as it is, in evaluation mode.
        normalize: `none`: images go in as they are, in [0, 1], as in all victims of this harness; `timm`: with the
            mean and deviation that timm states for the model.
        model: timm's name.
    """

    path: str = field(kw_only=False)
    tune: Literal["full", "head-only"] = "full"
    normalize: Literal["none", "timm"] = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        path = Path(self.path)
        if path.suffix.lower() not in _SUFFIXES:
            raise ValueError(f"path={self.path}: weights are read from {', '.join(_SUFFIXES)}")
        if not path.is_file():
            raise ValueError(f"path={self.path}: no such file")

    def content_digest(self) -> str:
        """Of the file of weights."""
        return digest_files([Path(self.path)])

    def build(self, info: DataInfo) -> nn.Module:
        """Logits (B, K) from float images in [0, 1].

        Raises:
            ValueError: if the network cannot take images of this size, or the weights are not those of this network.
            UserError: if the file cannot be read.
        """
        network = super().build(info)
        _load(network, read_named(Path(self.path)), self)
        return _Tuned(
            network, self.tune == "head-only", _statistics(network, info) if self.normalize == "timm" else None
        )


class _Tuned(nn.Module):
    """A network with its normalization; if asked, all but its classifier is frozen and in evaluation mode."""

    def __init__(self, network: nn.Module, head_only: bool, statistics: tuple[Tensor, Tensor] | None) -> None:
        super().__init__()
        self.network, self._head_only = network, head_only
        mean, std = statistics or (torch.zeros(1), torch.ones(1))
        self.register_buffer("mean", mean.view(-1, 1, 1), persistent=False)
        self.register_buffer("std", std.view(-1, 1, 1), persistent=False)
        if head_only:
            network.requires_grad_(False)
            _classifier(network).requires_grad_(True)

    def forward(self, images_01: Tensor) -> Tensor:
        logits: Tensor = self.network((images_01 - self.mean) / self.std)
        return logits

    def train(self, mode: bool = True) -> _Tuned:
        super().train(mode)
        if self._head_only:
            self.network.eval()
            _classifier(self.network).train(mode)
        return self


def _classifier(network: nn.Module) -> nn.Module:
    found = network.get_classifier()  # type: ignore[operator]
    if not isinstance(found, nn.Module):
        raise ValueError("tune=head-only: this network has several classifiers; choose another one, or tune=full")
    return found


def _load(network: nn.Module, weights: dict[str, Tensor], victim: Pretrained) -> None:
    """Sets the network's weights.

    Raises:
        ValueError: for names or shapes that differ, but for a classifier of another number of classes.
    """
    own = network.state_dict()
    head = {
        f"{name}.{key}"
        for name, module in network.named_modules()
        if module is _classifier(network)
        for key in module.state_dict()
    }
    other_classes = {name for name in head & weights.keys() if weights[name].shape != own[name].shape}
    anew = head if other_classes else set()
    missing = [n for n in own if n not in weights and n not in anew and not n.endswith("num_batches_tracked")]
    unknown = [name for name in weights if name not in own]
    shapes = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in weights and name not in anew and weights[name].shape != own[name].shape
    ]
    problems = [
        f"{what} {', '.join(names[:_SHOWN])}{f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''}"
        for what, names in (("lack", missing), ("have the unknown", unknown), ("have the wrong shape:", shapes))
        if names
    ]
    if problems:
        raise ValueError(
            f"{victim.path}: not the weights of {victim.model} with stem={victim.stem}: they "
            f"{'; they '.join(problems)}; save model.state_dict() of this network, or try stem=imagenet for timm's own"
        )
    if bad := [name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())]:
        raise ValueError(f"{victim.path}: {bad[0]} holds a value that is not finite; export the weights again")
    network.load_state_dict({name: tensor for name, tensor in weights.items() if name not in anew}, strict=False)


def _statistics(network: nn.Module, info: DataInfo) -> tuple[Tensor, Tensor]:
    known = network.pretrained_cfg  # timm's
    mean, std = (torch.tensor(known[name], dtype=torch.float32) for name in ("mean", "std"))
    if len(mean) != info.shape[0]:
        raise ValueError(f"normalize=timm: timm states {len(mean)} channels, and the images have {info.shape[0]}")
    return mean, std
