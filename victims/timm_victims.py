"""Any timm model as a victim, fitted to the image size by the rule of `victims.stems`."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from bench.api import DataInfo, Recipe
from bench.registry import victims
from victims.recipe_choice import RecipeChoice
from victims.stems import adapt_strides


@victims.register("timm")
@dataclass(frozen=True, kw_only=True)
class TimmVictim(RecipeChoice):
    """A timm network, trained from scratch; any timm model name is a victim by itself (`resnet18`, `densenet121`).

    Images go in as they are, in [0, 1], without mean and deviation, as in the D-VAE authors' code.

    Attributes:
        model: timm's name.
        stem: `auto` fits the network to small images; `imagenet` keeps timm's.
    """

    model: str
    stem: Literal["auto", "imagenet"] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model not in model_names():
            raise ValueError(f"timm has no model {self.model!r}; see `bench list victims`")

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
        from timm.models import VisionTransformer
        from timm.models.resnet import ResNet

        channels, height, width = info.shape
        options = {"pretrained": False, "num_classes": info.num_classes, "in_chans": channels}
        if self.stem == "imagenet":
            model = timm.create_model(self.model, **options)
        elif self.model.startswith(("vit_", "deit")):
            patch = {} if min(height, width) >= 128 else {"patch_size": max(1, min(height, width) // 8)}
            model = timm.create_model(self.model, img_size=(height, width), **patch, **options)
            assert isinstance(model, VisionTransformer)
        else:
            model = adapt_strides(timm.create_model(self.model, **options), info.shape)
        if isinstance(model, ResNet):
            _initialise_as_the_papers_do(model)
        _check(model, info, self.model)
        return model


def _initialise_as_the_papers_do(model: nn.Module) -> None:
    """PyTorch's default initialisation, as the papers' CIFAR networks have it (timm: Kaiming, last norms zeroed)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            module.reset_parameters()


def _check(model: nn.Module, info: DataInfo, name: str) -> None:
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            logits = model(torch.zeros(1, *info.shape))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ValueError(f"{name} cannot take {info.shape} images: {error}; choose another network") from error
    finally:
        model.train(was_training)
    if tuple(logits.shape) != (1, info.num_classes):
        raise ValueError(f"{name} returns {tuple(logits.shape)} for one image, expected (1, {info.num_classes})")


@functools.cache
def model_names() -> frozenset[str]:
    """All of timm's model names, without weights."""
    import timm

    return frozenset(timm.list_models())


victims.serve_open_ended("timm", "model", model_names)
