"""The layer sizes of D-VAE's networks (arXiv:2405.01460) for 32 and 224 pixels, and of a tiny one for the CPU.

Deviations from the released code:
- Its 224-pixel configuration adds an embedding made for 32 pixels to a 512x28x28 map and fails. The size of the
  embedding follows from the image here, and at 224 the default is one vector per class.
- `tiny` is ours: everything but the last layer at half the image's size, batch normalisation in the decoders (3 dB
  better than instance normalisation after a few hundred steps) and a perturbation decoder that starts at zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Norm = Literal["instance", "batch"]
Embedding = Literal["spatial", "vector"]
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Architecture:
    """Layer sizes of one network.

    Attributes:
        stem: channels and stride of the first 3x3 convolution.
        blocks: channels and stride of each basic block; the last one's channels are those of h and z.
        latent: channels of the code, whose rate is limited.
        decoder: groups of transposed convolutions (kernel, channels); norm and ReLU follow a group. Kernel 4 doubles
            the size, kernel 3 keeps it.
        last_kernel: of the decoder's last layer, which produces the image channels.
        norm: in the decoders; `instance` is without affine parameters.
        embedding: default kind of class embedding.
        zero_start: the perturbation decoder's last layer starts at zero, so the estimate does.
    """

    stem: tuple[int, int]
    blocks: tuple[tuple[int, int], ...]
    latent: int
    decoder: tuple[tuple[tuple[int, int], ...], ...]
    last_kernel: int = 3
    norm: Norm = "instance"
    embedding: Embedding = "spatial"
    zero_start: bool = False

    @property
    def stride(self) -> int:
        """Pixels of the image along one side of a position of h."""
        return math.prod((self.stem[1], *(stride for _, stride in self.blocks)))

    def code_shape(self, image: Shape) -> Shape:
        """(C, H, W) of h and z for images of shape (C, H, W)."""
        return self.blocks[-1][0], image[1] // self.stride, image[2] // self.stride


ARCHITECTURES = {
    "cifar": Architecture(
        stem=(64, 1),
        blocks=((64, 1), (64, 1), (128, 2)),
        latent=256,
        decoder=(((4, 64), (3, 64)), ((3, 32),)),
    ),
    "imagenet": Architecture(
        stem=(64, 1),
        blocks=((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
        latent=256,
        decoder=(((4, 256), (3, 128)), ((4, 64), (3, 32))),
        last_kernel=4,
        embedding="vector",
    ),
    "tiny": Architecture(
        stem=(24, 2),
        blocks=((24, 1),),
        latent=32,
        decoder=(((3, 24),),),
        last_kernel=4,
        norm="batch",
        zero_start=True,
    ),
}

_CIFAR_UP_TO = 64  # pixels a side; larger images get the network made for 224


def choose(network: str, image: Shape) -> tuple[str, Architecture]:
    """The name and layout of a network for images of shape (C, H, W); `auto` decides by size.

    Raises:
        ValueError: if the sides of the image are not multiples of the network's stride.
    """
    name = ("cifar" if max(image[1:]) <= _CIFAR_UP_TO else "imagenet") if network == "auto" else network
    architecture = ARCHITECTURES[name]
    if image[1] % architecture.stride or image[2] % architecture.stride:
        raise ValueError(
            f"network {name!r} needs image sides divisible by {architecture.stride}, got {image[1]}x{image[2]}; "
            "resize the images or choose another network"
        )
    return name, architecture
