"""D-VAE's network (Yu et al., ICML 2024, arXiv:2405.01460), as the released code uses it, without its dead weight.

An encoder turns an image into a feature map h; `Code` samples a noisy code s, whose rate the loss caps, and maps it to
z. One decoder turns z into the image; a second one turns z plus a learnable embedding of the class into the estimated
perturbation.

Deviations from the released code:
- Its classification branch (90 % of the parameters), which enters no loss, and the trained classifier whose losses it
  only logs are left out. Neither gets a gradient, so results are equal in distribution, though not bit for bit.
- mu and logvar come from one convolution of twice the width: the same numbers, one kernel instead of two.

Convolutions may run in bfloat16 under autocast, that of the moments too; everything computed from the moments (rate,
sampling) and the decoders' last layer are always float32.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.training.blocks import BasicBlock, convolution
from defenses.dvae.architecture import Architecture, Embedding, Norm, Shape


def encoder(architecture: Architecture, channels: int) -> nn.Sequential:
    """Images (B, C, H, W) to h (B, C', H / stride, W / stride)."""
    width, stride = architecture.stem
    layers: list[nn.Module] = [convolution(channels, width, 3, stride), nn.ReLU(inplace=True)]
    for after, stride in architecture.blocks:
        layers.append(BasicBlock(width, after, stride))
        width = after
    return nn.Sequential(*layers)


class Latent(NamedTuple):
    """A code: mean and log-variance float32 (B, L, h, w), and z (B, C', h, w), mapped back to the width of h."""

    mu: Tensor
    logvar: Tensor
    z: Tensor


class Code(nn.Module):
    """Gaussian code of limited rate: s = mu + exp(logvar / 2) * n with n ~ N(0, I) per entry, z = a 1x1 map of s."""

    def __init__(self, width: int, latent: int) -> None:
        super().__init__()
        self.moments = nn.Conv2d(width, 2 * latent, 1)
        self.widen = nn.Conv2d(latent, width, 1)

    def forward(self, h: Tensor, sample: bool = True) -> Latent:
        """Draws n from torch's global generator of the device; `sample=False` uses s = mu."""
        mu, logvar = self.moments(h).float().chunk(2, dim=1)
        return Latent(mu, logvar, self.widen(_sampled(mu, logvar) if sample else mu))


def _sampled(mu: Tensor, logvar: Tensor) -> Tensor:
    # A tensor of its own: `randn_like` would copy mu's strides, every second row of a channels-last tensor, which the
    # CPU fills eight times slower.
    batch, latent, height, width = mu.shape
    noise = torch.randn(batch, height, width, latent, device=mu.device).permute(0, 3, 1, 2)
    return mu + torch.exp(0.5 * logvar) * noise


class InstanceNorm(nn.Module):
    """Each channel of each image to mean 0 and variance 1."""

    def forward(self, features: Tensor) -> Tensor:
        """float (B, C, H, W), any layout."""
        if features.is_cuda:
            return functional.instance_norm(features)
        # The statistics in float32, as in the GPU's kernel, whatever comes in.
        wide = features.to(torch.promote_types(features.dtype, torch.float32))
        return _PerImage.apply(wide).to(features.dtype)  # type: ignore[no-any-return, no-untyped-call]


class _PerImage(torch.autograd.Function):
    """torch's CPU kernel copies channels-last tensors to another layout and back; this takes a third of its time."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        centered = features - features.mean((2, 3), keepdim=True)
        scale = torch.rsqrt(centered.square().mean((2, 3), keepdim=True) + 1e-5)
        normed = centered.mul_(scale)
        ctx.save_for_backward(normed, scale)
        return normed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        normed, scale = ctx.saved_tensors
        along = (gradient * normed).mean((2, 3), keepdim=True)
        return (gradient - gradient.mean((2, 3), keepdim=True)).sub_(normed * along).mul_(scale)


class Decoder(nn.Module):
    """Features of the width of h to float32 images (B, C, H, W) of any range."""

    def __init__(self, architecture: Architecture, channels: int, norm: Norm) -> None:
        super().__init__()
        width = architecture.blocks[-1][0]
        layers: list[nn.Module] = []
        for group in architecture.decoder:
            for kernel, after in group:
                layers.append(_transposed(width, after, kernel))
                width = after
            layers.append(InstanceNorm() if norm == "instance" else nn.BatchNorm2d(width))
            layers.append(nn.ReLU())  # not in place: the normalization's gradient needs its output
        self.features = nn.Sequential(*layers)
        self.last = _transposed(width, channels, architecture.last_kernel)

    def forward(self, features: Tensor) -> Tensor:
        features = self.features(features)
        with torch.autocast(features.device.type, enabled=False):
            return self.last(features.float())  # type: ignore[no-any-return]


def _transposed(before: int, after: int, kernel: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(before, after, kernel, stride=2 if kernel == 4 else 1, padding=1)


class Vae(nn.Module):
    """Encoder, code and image decoder: what is left of D-VAE without the disentangling half."""

    def __init__(self, architecture: Architecture, image: Shape, norm: Norm | None = None) -> None:
        super().__init__()
        self.encoder = encoder(architecture, image[0])
        self.code = Code(architecture.blocks[-1][0], architecture.latent)
        self.decoder = Decoder(architecture, image[0], norm or architecture.norm)

    def encode(self, images_01: Tensor, sample: bool = True) -> Latent:
        """float (B, C, H, W) in [0, 1] to its code."""
        return self.code(self.encoder(images_01), sample)  # type: ignore[no-any-return]

    def reconstruct(self, z: Tensor) -> Tensor:
        """float32 (B, C, H, W) in [0, 1]."""
        return torch.sigmoid(self.decoder(z))

    def forward(self, images_01: Tensor, sample: bool = True) -> Tensor:
        return self.reconstruct(self.encode(images_01, sample).z)


class Autoencoder(nn.Module):
    """The encoder, one basic block deeper, and the image decoder, with a 1x1 bottleneck of `width` channels if > 0."""

    def __init__(self, architecture: Architecture, image: Shape, width: int = 0) -> None:
        super().__init__()
        channels = architecture.blocks[-1][0]
        deeper = replace(architecture, blocks=(*architecture.blocks, (channels, 1)))
        self.encoder = encoder(deeper, image[0])
        self.bottleneck = nn.Sequential()
        if width:
            self.bottleneck = nn.Sequential(nn.Conv2d(channels, width, 1), nn.Conv2d(width, channels, 1))
        self.decoder = Decoder(architecture, image[0], architecture.norm)

    def forward(self, images_01: Tensor) -> Tensor:
        """float32 (B, C, H, W) in [0, 1]."""
        return torch.sigmoid(self.decoder(self.bottleneck(self.encoder(images_01))))


class Disentangled(NamedTuple):
    """Output of D-VAE for a batch: reconstruction in [0, 1], perturbation of any range, and the code's moments."""

    reconstruction: Tensor
    perturbation: Tensor
    mu: Tensor
    logvar: Tensor


class DisentanglingVae(nn.Module):
    """A VAE with a second decoder that explains, from the class and the code, what the first one leaves out.

    Args:
        architecture: layer sizes.
        image: (C, H, W); sides divisible by the architecture's stride.
        num_classes: K.
        embedding: `spatial` is a table K x (C' * h * w), `vector` K x C', repeated over all positions; N(0, 1) at the
            start.
        embed_into: the embedding is added to the code's output `z`, or to the encoder's features `h`, which are not
            limited in rate.
        class_wise: the perturbation decoder sees the embedding alone.
        norm: in the decoders.
    """

    def __init__(
        self,
        architecture: Architecture,
        image: Shape,
        num_classes: int,
        *,
        embedding: Embedding | None = None,
        embed_into: Literal["z", "h"] = "z",
        class_wise: bool = False,
        norm: Norm | None = None,
    ) -> None:
        super().__init__()
        width, height, breadth = architecture.code_shape(image)
        self.vae = Vae(architecture, image, norm)
        spatial = (embedding or architecture.embedding) == "spatial"
        self._code_shape = (width, height, breadth)
        self._template = (width, height, breadth) if spatial else (width, 1, 1)
        self._embed_into, self._class_wise = embed_into, class_wise
        self.embedding = nn.Embedding(num_classes, math.prod(self._template))
        self.perturbation_decoder = Decoder(architecture, image[0], norm or architecture.norm)
        if architecture.zero_start:
            nn.init.zeros_(self.perturbation_decoder.last.weight)
            nn.init.zeros_(self.perturbation_decoder.last.bias)  # type: ignore[arg-type]

    def forward(self, images_01: Tensor, labels: Tensor) -> Disentangled:
        h = self.vae.encoder(images_01)
        latent = self.vae.code(h)
        perturbation = self._explain(h, latent.z, labels)
        return Disentangled(self.vae.reconstruct(latent.z), perturbation, latent.mu, latent.logvar)

    def estimate(self, images_01: Tensor, labels: Tensor, sample: bool = True) -> Tensor:
        """The perturbation alone, float32 (B, C, H, W)."""
        h = self.vae.encoder(images_01)
        return self._explain(h, self.vae.code(h, sample).z, labels)

    def reconstruct(self, images_01: Tensor, sample: bool = True) -> Tensor:
        """The image alone, float32 (B, C, H, W) in [0, 1]; independent of the class."""
        return self.vae(images_01, sample)  # type: ignore[no-any-return]

    def _explain(self, h: Tensor, z: Tensor, labels: Tensor) -> Tensor:
        template = self.embedding(labels).unflatten(1, self._template)
        if self._class_wise:
            return self.perturbation_decoder(template.expand(-1, *self._code_shape))  # type: ignore[no-any-return]
        return self.perturbation_decoder(template + (z if self._embed_into == "z" else h))  # type: ignore[no-any-return]


class OnImages(nn.Module):
    """A disentangling VAE that takes every image for one of class 0: as much work, without labels."""

    def __init__(self, network: DisentanglingVae) -> None:
        super().__init__()
        self.network = network

    def forward(self, images_01: Tensor) -> Disentangled:
        labels = torch.zeros(len(images_01), dtype=torch.int64, device=images_01.device)
        return self.network(images_01, labels)  # type: ignore[no-any-return]
