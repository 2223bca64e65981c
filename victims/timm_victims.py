"""Any timm model as a victim, fitted to the image size by the rules of `victims.stems` and `victims.fixed_size`."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from bench.api import DataInfo, Recipe
from bench.registry import victims
from victims.fixed_size import build_fitted, own_side
from victims.recipe_choice import RecipeChoice


@victims.register("timm")
@dataclass(frozen=True, kw_only=True)
class TimmVictim(RecipeChoice):
    """A timm network, trained from scratch; any timm model name is a victim by itself (`resnet18`, `densenet121`).

    Images go in as they are, in [0, 1], without mean and deviation, as in the D-VAE authors' code. Where the networks
    differ from theirs is in docs/victims.md.

    Attributes:
        model: timm's name.
        stem: `auto` fits the network to small images; `imagenet` keeps timm's.
        init: `pytorch`: PyTorch's default for every layer; `timm`: the network's own, without zeroed normalizations at
            the ends of residual blocks; `auto`: `pytorch` for ResNets and DenseNets, as in the papers' CIFAR networks.
        dropout: before the classifier (in VGG between its linear layers too); None keeps timm's, which is none.
    """

    model: str
    stem: Literal["auto", "imagenet"] = "auto"
    init: Literal["auto", "pytorch", "timm"] = "auto"
    dropout: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model not in model_names():
            raise ValueError(f"timm has no model {self.model!r}; see `bench list victims`")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")

    @property
    def recipe(self) -> Recipe:
        """The stored recipe with this victim's changes."""
        return self.choose(self.model)

    def build(self, info: DataInfo) -> nn.Module:
        """Logits (B, K) from float images in [0, 1].

        Raises:
            ValueError: if the network cannot take images of this size.
        """
        import timm

        options: dict[str, Any] = {"pretrained": False, "num_classes": info.num_classes, "in_chans": info.shape[0]}
        if self.dropout is not None:
            options["drop_rate"] = self.dropout
        with _refusals(self.model, info):
            if self.stem == "imagenet":
                model = timm.create_model(self.model, **options)
            else:
                model = build_fitted(self.model, info.shape, options)
            _initialise(model, self.init)
            _check(model, info)
        return model


@contextmanager
def _refusals(name: str, info: DataInfo) -> Iterator[None]:
    """Whatever timm raises while a network is built, fitted and tried becomes a ValueError with the remedy."""
    channels, height, width = info.shape
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # timm has no error of its own: IndexError, AssertionError, TypeError, ...
        reason = str(error).strip().partition("\n")[0] or _failed_line(error)
        raise ValueError(
            f"{name} cannot take {width}x{height} images of {channels} channels ({type(error).__name__}: {reason}); "
            f"it is made for {own_side(name)} pixels; choose another network (docs/victims.md has one of every family)"
        ) from error


def _failed_line(error: Exception) -> str:
    """The line of timm that failed; of an assertion without words it is the reason."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "timm" in Path(frame.filename).parts] or frames
    return own[-1].line or "no reason given"


def _initialise(model: nn.Module, scheme: str) -> None:
    """Sets the weights that timm initialises otherwise than the papers' code does."""
    from timm.models import VGG, DenseNet, ResNet

    if scheme == "pytorch" or (scheme == "auto" and isinstance(model, ResNet | DenseNet)):
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
                module.reset_parameters()
    elif isinstance(model, ResNet):  # timm starts every residual block as the identity
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
        model.init_weights(zero_init_last=False)
    elif isinstance(model, VGG):  # timm treats the first two linear layers as the convolutions that they are there
        for layer in (model.pre_logits.fc1, model.pre_logits.fc2):
            nn.init.normal_(layer.weight, 0, 0.01)


def _check(model: nn.Module, info: DataInfo) -> None:
    was_training = model.training
    model.eval()
    with torch.no_grad():
        logits = model(torch.zeros(1, *info.shape))
    model.train(was_training)
    expected = (1, info.num_classes)
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != expected:
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ValueError(f"it returns {found} for one image, expected {expected}")


@functools.cache
def model_names() -> frozenset[str]:
    """All of timm's model names, without weights."""
    import timm

    return frozenset(timm.list_models())


victims.serve_open_ended("timm", "model", model_names)
