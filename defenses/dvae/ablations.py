"""Rest of D-VAE without its disentangling half (arXiv:2405.01460): a rate-limited VAE, and an auto-encoder.

Deviations from the released code:
- Its training loop for the VAE is missing; the loss is D-VAE's with the terms that exist.
- Its bottleneck widths of the auto-encoder pass an argument that its class does not accept. `width` is our reading: two
  1x1 convolutions, down to `width` channels and back.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from bench.api import STEP_PASSES, Context, DataInfo, ImageSet, Recipe, Work
from bench.registry import defenses
from bench.training import Batch, build
from defenses.dvae.architecture import choose
from defenses.dvae.losses import psnr_db, vae_terms
from defenses.dvae.network import Autoencoder, Vae
from defenses.dvae.training import purifier_recipe, rewrite_images, train_network


@defenses.register("vae", source="arXiv:2405.01460")
@dataclass(frozen=True)
class RateLimitedVae:
    """Replace every image by its reconstruction from a code of limited rate; uses no labels.

    Low caps remove poison and detail, high caps keep both; D-VAE exists because no cap does one without the other.
    Costs about 0.6 trainings of a CIFAR ResNet-18 (one stage of 118 GFLOP an image, by arithmetic).

    Logs `kld` (nats per position) and `reconstruction_psnr_db`, over the last epoch and in train mode.

    Attributes:
        cap: nats per position that are free; sweep 0.5, 1, 2, 3, 4.5.
        network: `cifar`, `imagenet`, `tiny`, or `auto`: by the image size, as for `dvae`.
        latents: `sample` or `mean` codes at purification.
        rounding: to 8 bits: `nearest` or `floor`.
        epochs: of the training.
        batch_size: the last incomplete batch of an epoch is left out.
        lr: of Adam; falls to 0 along a cosine, once an epoch.
    """

    cap: float = 1.0
    network: Literal["auto", "cifar", "imagenet", "tiny"] = "auto"
    latents: Literal["sample", "mean"] = "sample"
    rounding: Literal["nearest", "floor"] = "nearest"
    epochs: int = 60
    batch_size: int = 128
    lr: float = 5e-3

    def __post_init__(self) -> None:
        if not (isfinite(self.cap) and self.cap >= 0):
            raise ValueError(f"cap must be finite and >= 0 nats, got {self.cap}; 1e4 is no limit in practice")
        _ = self._recipe  # checks epochs, batch_size and lr

    @property
    def _recipe(self) -> Recipe:
        return purifier_recipe(self.epochs, self.batch_size, self.lr)

    def check_fit(self, train: ImageSet) -> None:
        """Raises ValueError if the network cannot take images of this size."""
        choose(self.network, train.info.shape)

    def work(self, info: DataInfo, images: int) -> Work:
        """One training, and every image once."""
        return Work(lambda: self._network(info), self.epochs * STEP_PASSES + 1)

    def _network(self, info: DataInfo) -> Vae:
        return Vae(choose(self.network, info.shape)[1], info.shape)

    def purify(self, train: ImageSet, ctx: Context) -> ImageSet:
        network = build(lambda: self._network(train.info), ctx)

        def terms(batch: Batch) -> dict[str, Tensor]:
            latent = network.encode(batch.images_01)
            return vae_terms(network.reconstruct(latent.z), latent.mu, latent.logvar, batch.images_01, self.cap)

        means = train_network(network, train, terms, self._recipe, ctx)
        ctx.log("kld", means["kld"])
        ctx.log("reconstruction_psnr_db", psnr_db(means["reconstruction"]))
        sample = self.latents == "sample"
        return rewrite_images(train, lambda x, y, rows: network(x, sample), ctx, self.rounding)


@defenses.register("ae", source="arXiv:2405.01460")
@dataclass(frozen=True)
class PlainAutoencoder:
    """Replace every image by a denoising auto-encoder's reconstruction; uses no labels.

    Without a bottleneck h has ten times as many numbers as the image: what little it removes comes from the noise.
    Costs about 0.7 trainings of a CIFAR ResNet-18.

    Logs `reconstruction_psnr_db`, over the last epoch and in train mode.

    Attributes:
        width: channels of a 1x1 bottleneck on h; 0 for none.
        noise_sigma: of the Gaussian noise added to the input, in training and at purification, on the [0, 1] scale.
        network: `cifar`, `imagenet`, `tiny`, or `auto`: by the image size, as for `dvae`; one block deeper.
        rounding: to 8 bits: `nearest` or `floor`.
        epochs: of the training.
        batch_size: the last incomplete batch of an epoch is left out.
        lr: of SGD with momentum 0.9 and weight decay 5e-4; falls to 0 along a cosine, once an epoch.
    """

    width: int = 0
    noise_sigma: float = 0.062
    network: Literal["auto", "cifar", "imagenet", "tiny"] = "auto"
    rounding: Literal["nearest", "floor"] = "nearest"
    epochs: int = 60
    batch_size: int = 128
    lr: float = 0.1

    def __post_init__(self) -> None:
        if self.width < 0 or not self.noise_sigma >= 0:
            raise ValueError(f"width and noise_sigma must be >= 0, got {self.width} and {self.noise_sigma}")
        _ = self._recipe  # checks epochs, batch_size and lr

    @property
    def _recipe(self) -> Recipe:
        return Recipe(epochs=self.epochs, batch_size=self.batch_size, lr=self.lr, crop_padding=0, flip=False)

    def check_fit(self, train: ImageSet) -> None:
        """Raises ValueError if the network cannot take images of this size."""
        choose(self.network, train.info.shape)

    def work(self, info: DataInfo, images: int) -> Work:
        """One training, and every image once."""
        return Work(lambda: self._network(info), self.epochs * STEP_PASSES + 1)

    def _network(self, info: DataInfo) -> Autoencoder:
        return Autoencoder(choose(self.network, info.shape)[1], info.shape, self.width)

    def purify(self, train: ImageSet, ctx: Context) -> ImageSet:
        network = build(lambda: self._network(train.info), ctx)

        def reconstruct(images_01: Tensor) -> Tensor:
            noisy = images_01 + self.noise_sigma * torch.randn_like(images_01)
            return network(noisy)  # type: ignore[no-any-return]

        def terms(batch: Batch) -> dict[str, Tensor]:
            return {"loss": functional.mse_loss(reconstruct(batch.images_01), batch.images_01)}

        means = train_network(network, train, terms, self._recipe, ctx)
        ctx.log("reconstruction_psnr_db", psnr_db(means["loss"]))
        return rewrite_images(train, lambda x, y, rows: reconstruct(x), ctx, self.rounding)
