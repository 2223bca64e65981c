"""A U-Net that predicts the noise in an image at a time of the diffusion, and its file (safetensors, never pickled)."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

_FORMAT = "purify-bench score network 1"
_SETTINGS = ("channels", "width", "multipliers")


class ScoreNetwork(nn.Module):
    """Noise of images at their times.

    Args:
        channels: of the images.
        width: channels of the first level, a multiple of 8.
        multipliers: of the width at each level; between two levels the sides are halved.
    """

    def __init__(self, channels: int, width: int, multipliers: tuple[int, ...]) -> None:
        super().__init__()
        self.channels, self.width, self.multipliers = channels, width, tuple(multipliers)
        self.divisor = 2 ** (len(multipliers) - 1)
        widths = [width * multiplier for multiplier in multipliers]
        self.embed = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width))
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        befores = [width, *widths[:-1]]
        self.down = nn.ModuleList(_Block(a, b, 4 * width) for a, b in zip(befores, widths, strict=True))
        self.middle = _Block(widths[-1], widths[-1], 4 * width)
        afters = [*widths[:-1][::-1], width]
        self.up = nn.ModuleList(_Block(2 * a, b, 4 * width) for a, b in zip(widths[::-1], afters, strict=True))
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, images: Tensor, times: Tensor) -> Tensor:
        """Float (B, C, H, W) on [-1, 1] with noise, and times (B,) in [0, 1]; the noise, with deviation 1."""
        embedded = self.embed(_waves(999 * times, self.width))
        features, seen = self.first(images), []
        for level, block in enumerate(self.down):
            features = block(functional.avg_pool2d(features, 2) if level else features, embedded)
            seen.append(features)
        features = self.middle(features, embedded)
        for level, block in enumerate(self.up):
            if level:
                features = functional.interpolate(features, scale_factor=2.0)
            features = block(torch.cat([features, seen.pop()], dim=1), embedded)
        result: Tensor = self.last(functional.silu(features))
        return result


class _Block(nn.Module):
    """Two convolutions around the time, and a shortcut."""

    def __init__(self, before: int, after: int, embedding: int) -> None:
        super().__init__()
        self.norm, self.one = nn.GroupNorm(8, before), nn.Conv2d(before, after, 3, padding=1)
        self.time = nn.Linear(embedding, after)
        self.again, self.two = nn.GroupNorm(8, after), nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, features: Tensor, embedded: Tensor) -> Tensor:
        inner = self.one(functional.silu(self.norm(features))) + self.time(functional.silu(embedded))[:, :, None, None]
        result: Tensor = self.shortcut(features) + self.two(functional.silu(self.again(inner)))
        return result


def _waves(times: Tensor, width: int) -> Tensor:
    """Sines and cosines of the times, (B, width)."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half, device=times.device) * (-math.log(10_000) / half))
    angles = times[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def save(network: ScoreNetwork, path: Path) -> None:
    """Writes a network's file."""
    from safetensors.torch import save_file

    settings = json.dumps({name: getattr(network, name) for name in _SETTINGS})
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(state, path, metadata={"format": _FORMAT, "settings": settings})


def load(path: Path) -> ScoreNetwork:
    """The network of a file that `save` wrote, on the CPU.

    Raises:
        ValueError: if the file is missing or is no such file.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ValueError(f"avatar: weights={path}: no such file")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
    except SafetensorError as error:
        raise ValueError(f"avatar: weights={path} is no safetensors file: {error}") from error
    if metadata.get("format") != _FORMAT:
        raise ValueError(f"avatar: weights={path} is not a {_FORMAT!r}; write it with defenses.avatar.network.save")
    settings = json.loads(metadata["settings"])
    network = ScoreNetwork(settings["channels"], settings["width"], tuple(settings["multipliers"]))
    network.load_state_dict(state)
    return network
