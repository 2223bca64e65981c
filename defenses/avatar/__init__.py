"""AVATAR: diffusion purification of the training set (Dolatabadi et al., arXiv:2303.08500).

Every image gets some noise, and a diffusion model that was trained on clean images takes the noise away, and the poison
with it. The weights come from a file that the user names; none are shipped.

Deviations:
- The network is a plain U-Net (`defenses.avatar.network`), not the NCSN++ of the authors, so that their checkpoints do
  not fit: theirs has four blocks at each level, attention, and other ways to halve and double the sides.
  `defenses.avatar.training` trains one on clean images, and `save` writes its file.
- The result is clipped before it is rounded; in the authors' code values beyond the range wrap to its other end.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.api import Context, DataInfo, ImageSet, Work, map_images
from bench.errors import UserError
from bench.registry import defenses
from bench.training import autocast, to_uint8
from defenses.avatar.diffusion import STEPS, noised, purified
from defenses.avatar.network import ScoreNetwork, load

_BATCH = 256  # images


@defenses.register("avatar", source="arXiv:2303.08500", uses=("clean-originals",))
@dataclass(frozen=True)
class Avatar:
    """Add noise to every image and let a diffusion model take it away again.

    Costs as many passes of a large network per image as there are steps, which is more than the victim's training. What
    it is worth depends on the images that the diffusion model has seen: the paper's had seen the clean originals.

    Attributes:
        weights: file of a score network; `defenses.avatar.training` trains one, `defenses.avatar.network.save` writes.
        noise_steps: how much noise, in steps of a diffusion of 1,000; as many passes. The paper takes 100.
    """

    weights: str
    noise_steps: int = 100

    def __post_init__(self) -> None:
        if not 0 <= self.noise_steps <= STEPS:
            raise ValueError(f"avatar: noise_steps must be in 0..{STEPS}, got {self.noise_steps}")

    def content_digest(self) -> str:
        """Digest of the file, for keys."""
        if not Path(self.weights).is_file():
            raise UserError(f"avatar: weights={self.weights}: no such file")
        return hashlib.sha256(Path(self.weights).read_bytes()).hexdigest()

    def check_fit(self, train: ImageSet) -> None:
        """Raises ValueError if the network cannot be read, or was made for other images."""
        self._network(train.info)

    def work(self, info: DataInfo, images: int) -> Work:
        """Passes through the network, one a step."""
        return Work(lambda: self._network(info), float(self.noise_steps))

    def purify(self, train: ImageSet, ctx: Context) -> ImageSet:
        """The images after noise and denoising."""
        network = self._network(train.info).to(ctx.device).eval()
        generator = ctx.generator("noise")

        def draw(shape: torch.Size) -> Tensor:
            return torch.randn(shape, generator=generator).to(ctx.device)

        def noise_of(images: Tensor, times: Tensor) -> Tensor:
            with torch.no_grad(), autocast(ctx.device):
                predicted: Tensor = network(images, times)
            return predicted.float()

        def change(images_u8: Tensor, rows: slice) -> Tensor:
            images = images_u8.to(ctx.device).float() / 127.5 - 1
            images = purified(noised(images, self.noise_steps, draw), self.noise_steps, noise_of, draw)
            return to_uint8((images + 1) / 2).cpu()

        with ctx.phase("apply"):
            return map_images(train, change, ctx, chunk=_BATCH)

    def _network(self, info: DataInfo) -> ScoreNetwork:
        network = load(Path(self.weights))
        channels, height, width = info.shape
        if network.channels != channels or height % network.divisor or width % network.divisor:
            raise ValueError(
                f"avatar: the network in {self.weights} takes {network.channels} channels and sides that "
                f"{network.divisor} divides; the images are {channels} x {height} x {width}"
            )
        return network
