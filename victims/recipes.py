"""Training recipes as data: by preset, and by architecture where it needs another one.

`paper` is the recipe of the D-VAE authors' code (CIFAR-10: 60 epochs of SGD 0.1, batch 128, cosine stepped once an
epoch, random crop with padding 4, flip, gradient norm clipped at 5; CIFAR-100 is run for 100 epochs: `epochs=100`).
Transformers do not train with it; like the other papers they get AdamW. `fast` is a large-batch schedule for one GPU;
no machine has measured it against `paper` yet, so it is unvalidated. `demo` is for two CPU cores: no crop, because at
that length a crop hides most shortcuts.
"""

from __future__ import annotations

from bench.api import Recipe

PRESETS = ("paper", "fast", "demo")

_PAPER = Recipe()
_FAST = Recipe(epochs=30, batch_size=512, lr=0.4, schedule="cosine", warmup_epochs=2.0)
_DEMO = Recipe(epochs=10, batch_size=50, lr=0.1, schedule="one-cycle", crop_padding=0, clip_grad_norm=None)

# AdamW gives the weak gradients of an AR poison the same step as the strong ones of the images; with SGD the small
# network has learned the images first.
_SMALL_DEMO = Recipe(
    epochs=10, batch_size=50, optimizer="adamw", lr=5e-3, schedule="one-cycle", crop_padding=0, clip_grad_norm=None
)

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

_CONVOLUTIONAL = {"paper": _PAPER, "fast": _FAST, "demo": _DEMO}
_TRANSFORMER = {"paper": _TRANSFORMER_PAPER, "fast": _TRANSFORMER_FAST, "demo": _TRANSFORMER_DEMO}

# Models the recipes are meant for; any other convolutional network uses the same ones.
TUNED = {
    "small-cnn": {"paper": _PAPER, "fast": _FAST, "demo": _SMALL_DEMO},
    "resnet18": _CONVOLUTIONAL,
    "resnet50": _CONVOLUTIONAL,
    "densenet121": _CONVOLUTIONAL,
    "mobilenetv2_100": _CONVOLUTIONAL,
    "vit_tiny_patch16_224": _TRANSFORMER,
}

_TRANSFORMER_PREFIXES = ("vit_", "deit", "cait_", "beit", "eva", "swin", "xcit", "flexivit", "pit_", "mvit", "twins_")


def recipe_for(model: str, preset: str) -> Recipe:
    """The recipe of a model name under a preset."""
    family = TUNED.get(model, _TRANSFORMER if model.startswith(_TRANSFORMER_PREFIXES) else _CONVOLUTIONAL)
    return family[preset]
