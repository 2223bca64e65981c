"""Training recipes as data: by preset, and by architecture where it needs another one.

`paper` is the recipe of the D-VAE authors' code: SGD 0.1, batch 128, cosine stepped once an epoch, random crop with
padding 4, flip, gradient norm clipped at 5. It has 60 epochs, as they train on CIFAR-10; `paper-100` has their 100 of
CIFAR-100 and of the ImageNet subset, `paper-30` their 30 of SVHN. Transformers do not train well with it; like the
other papers they get AdamW, of the same length everywhere. `fast` is a large-batch schedule for one GPU; no machine has
measured it against `paper` yet, so it is unvalidated. `demo` and `cpu` are for two CPU cores, `cpu` for 50,000 images:
no crop, because at that length a crop hides most shortcuts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

from bench.api import Recipe

RecipeName = Literal["paper", "paper-30", "paper-100", "fast", "cpu", "demo"]
PRESETS = get_args(RecipeName)

_PAPER = Recipe()
_FAST = Recipe(epochs=30, batch_size=512, lr=0.4, schedule="cosine", warmup_epochs=2.0)
_DEMO = Recipe(epochs=10, batch_size=50, lr=0.1, schedule="one-cycle", crop_padding=0, clip_grad_norm=None)

# AdamW gives the weak gradients of an AR poison the same step as the strong ones of the images; with SGD the small
# network has learned the images first.
_SMALL_DEMO = Recipe(
    epochs=10, batch_size=50, optimizer="adamw", lr=5e-3, schedule="one-cycle", crop_padding=0, clip_grad_norm=None
)

# 50,000 images give a small network enough steps in seven epochs.
_CPU = replace(_DEMO, epochs=7, batch_size=128, lr=0.2)
_SMALL_CPU = replace(_SMALL_DEMO, epochs=7, batch_size=128, lr=1e-2)

_TRANSFORMER_PAPER = Recipe(
    epochs=200, optimizer="adamw", lr=5e-4, weight_decay=0.03, schedule="cosine", warmup_epochs=5.0, clip_grad_norm=1.0
)
_TRANSFORMER_FAST = Recipe(
    epochs=100,
    batch_size=512,
    optimizer="adamw",
    lr=1e-3,
    weight_decay=0.03,
    schedule="cosine",
    warmup_epochs=5.0,
    clip_grad_norm=1.0,
)
_TRANSFORMER_DEMO = Recipe(
    epochs=10, batch_size=50, optimizer="adamw", lr=1e-3, weight_decay=0.03, schedule="one-cycle", crop_padding=0
)

_TRANSFORMER_CPU = replace(_TRANSFORMER_DEMO, epochs=7, batch_size=128)

_SGD = {
    "paper": _PAPER,
    "paper-30": replace(_PAPER, epochs=30),
    "paper-100": replace(_PAPER, epochs=100),
    "fast": _FAST,
    "cpu": _CPU,
    "demo": _DEMO,
}
_ADAMW = {
    "paper": _TRANSFORMER_PAPER,
    "paper-30": _TRANSFORMER_PAPER,
    "paper-100": _TRANSFORMER_PAPER,
    "fast": _TRANSFORMER_FAST,
    "cpu": _TRANSFORMER_CPU,
    "demo": _TRANSFORMER_DEMO,
}
_BY_OPTIMIZER = {"sgd": _SGD, "adamw": _ADAMW}

# Models the recipes are meant for; any other convolutional network uses the same ones.
TUNED = {
    "small-cnn": _SGD | {"cpu": _SMALL_CPU, "demo": _SMALL_DEMO},
    "resnet18": _SGD,
    "resnet50": _SGD,
    "densenet121": _SGD,
    "mobilenetv2_100": _SGD,
    "vgg19": _SGD,
    "vit_tiny_patch16_224": _ADAMW,
    "vit_base_patch16_224": _ADAMW,
}

# Attention and mixer networks; AdamW for them is our choice, as docs/victims.md says.
_TRANSFORMER_PREFIXES = (
    *("vit_", "deit", "cait_", "beit", "eva", "swin", "xcit", "flexivit", "pit_", "mvit", "twins_"),
    *("convit", "coat_", "crossvit", "gcvit", "gmixer", "gmlp", "hiera", "levit", "mixer_", "naflexvit", "nest_"),
    *("resmlp", "samvit", "sequencer2d", "test_vit", "tnt_", "visformer", "vitamin", "volo"),
)


def recipe_for(model: str, preset: str, optimizer: str | None = None) -> Recipe:
    """The recipe of a model name under a preset; with an optimizer that is not the model's own, that one's recipe."""
    family = TUNED.get(model, _ADAMW if model.startswith(_TRANSFORMER_PREFIXES) else _SGD)
    if optimizer not in (None, family[preset].optimizer):
        family = _BY_OPTIMIZER[optimizer]
    return family[preset]
