"""CUDA: convolution-based unlearnable data (Sadasivan et al., CVPR 2023, arXiv:2303.04278).

Every image of a class is blurred by the class's own 3x3 kernel. Written from the method's description alone: the
license of its authors' code does not allow copies, and the code was not used.

Deviations, because the description does not say it:
- the brightest entry of a blurred image becomes 1; an image that is all black stays so;
- images are rounded to 8 bits, to nearest.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from bench.api import Budget, Context, ImageSet, PartialPoison, map_images, no_network
from bench.registry import attacks


@attacks.register("cuda", source="arXiv:2303.04278")
@dataclass(frozen=True)
class Cuda(PartialPoison):
    """Blur of every image by a random kernel of its class; no norm bounds it, adversarial training does not undo it.

    Costs seconds for 50,000 images, and no surrogate. The images lose detail that is visible at once.

    In a chain (`em+cuda`) it blurs the images that the others poisoned.

    Attributes:
        blur: entries of a kernel are uniform in 0..blur; one of them, at random, is 1.
        kernel: side of the kernels in pixels, an odd number.
    """

    blur: float = 0.3
    kernel: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.blur <= 1:
            raise ValueError(f"blur must be in (0, 1], got {self.blur}; the paper uses 0.3")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel must be an odd number of pixels, got {self.kernel}; the paper uses 3")

    @property
    def budget(self) -> Budget:
        """None: a blur promises no bound."""
        return Budget("none")

    work = no_network

    def poison(self, train: ImageSet, ctx: Context) -> ImageSet:
        return self.poison_onto(train, train, ctx)

    def poison_onto(self, clean: ImageSet, poisoned: ImageSet, ctx: Context) -> ImageSet:
        """Blurs `poisoned`; the clean images do not matter."""
        kernels = self._kernels(clean.info.num_classes, ctx.generator("kernels"))
        with ctx.phase("blur"):
            return map_images(poisoned, lambda images, rows: _blur(images, kernels[poisoned.labels[rows]]), ctx)

    def _kernels(self, count: int, generator: torch.Generator) -> Tensor:
        """One kernel a class, float64 (K, kernel, kernel)."""
        kernels = self.blur * torch.rand(count, self.kernel**2, generator=generator, dtype=torch.float64)
        ones = torch.randint(self.kernel**2, (count, 1), generator=generator)
        return kernels.scatter_(1, ones, 1.0).view(count, self.kernel, self.kernel)


def _blur(images_u8: Tensor, kernels: Tensor) -> Tensor:
    """Each image (n, C, H, W) under its own kernel (n, k, k), zero padded, divided by its maximum over all channels.

    A sum of shifted images in float64 and not a convolution of a library, whose order of additions differs by machine.
    """
    height, width = images_u8.shape[-2:]
    side = kernels.shape[-1]
    padded = pad(images_u8.double(), [side // 2] * 4)
    total = torch.zeros_like(images_u8, dtype=torch.float64)
    for row in range(side):
        for column in range(side):
            part = padded[..., row : row + height, column : column + width]
            total += kernels[:, row, column, None, None, None] * part
    brightest = total.amax(dim=(1, 2, 3), keepdim=True)
    return (255 * total / brightest.clamp(min=1e-12)).round().to(torch.uint8)
