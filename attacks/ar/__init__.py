"""AR: autoregressive perturbations (Sandoval-Segura et al., NeurIPS 2022, arXiv:2206.03693).

Reads labels only: no pixels, no surrogate. A class is a 3x3 linear recurrence for each channel; an image gets a fresh
field of its class's recurrence.

Deviations from the authors' code (`psandovalsegura/autoregressive-poisoning`):
- own coefficients, drawn by their rule with other tests by `attacks.ar.coefficients`, and for 10 classes chosen by
  their effect on a small network; their file `params-classes-10-mr-10.pt` loads with `coefficients=PATH`;
- only the start values that are ever read are drawn, and a row is computed at once: the same fields in closed form;
- float64 on the CPU; theirs is float32.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from attacks.ar.process import autoregress, normals_needed
from bench.api import Budget, Context, ImageSet, PartialPoison, no_network, perturb
from bench.datasets.tensor_files import SUFFIXES, digest_files, read_tensors, stacked
from bench.errors import UserError
from bench.registry import attacks

_SHIPPED = {10: "ar-10.npy", 100: "ar-100.npy"}
_NORMALS_AT_ONCE = 16  # torch fills normals in blocks of 16: whole blocks make a draw independent of the chunk size


@attacks.register("ar", source="arXiv:2206.03693")
@dataclass(frozen=True)
class Ar(PartialPoison):
    """Sample-wise noise that follows one local linear recurrence for each class; needs only labels.

    Costs seconds for 50,000 images. No fixed pattern: held-out linear separability is low. Its
    effect depends on how long the victim trains: small after a few epochs; for a quick check use `lsp` or `ops`.

    The coefficients are the project's own: random ones whose fields stay bounded also at 224 pixels, that answer each
    other's filters, and that have most of the energy in one channel. Of four sets for 10 classes, the one with the
    strongest effect on a small network over three seeds is shipped. The effect of the 100-class set was measured in
    groups of ten classes, not on 100 (docs/measurements.md).

    The default is for 32x32; the authors use eps=3 for 96x96. They call the L-inf variant suboptimal.

    Logs the digest of the coefficients (`coefficients_sha256`), which tells the authors' set in any file.

    Attributes:
        eps: size of the noise of one image before rounding: its L2 norm, at least 0.1, or its largest entry.
        norm: `l2`, or `linf` (the authors use eps=8/255).
        crop: rows and columns of the start-up region that are dropped, at least 2.
        coefficients: a file with another (K, 3, 3, 3) tensor, by class and channel, or a list of (3, 3, 3) ones, as
            the authors' `params-classes-10-mr-10.pt`; "" takes the shipped ones.
    """

    eps: float = 1.0
    norm: Literal["l2", "linf"] = "l2"
    crop: int = 4
    coefficients: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm not in ("l2", "linf"):
            raise ValueError(f"ar: norm must be l2 or linf, got {self.norm!r}")
        if self.norm == "l2" and not (math.isfinite(self.eps) and self.eps >= 0.1):
            raise ValueError(
                f"ar: eps is the L2 norm of a whole image and must be at least 0.1, got {self.eps:g}; "
                "the paper uses 1.0; add norm=linf for a bound on every entry"
            )
        if self.norm == "linf" and not 1 / 255 - 1e-6 <= self.eps < 1:
            raise ValueError(f"ar: eps must be in 1/255..1 with norm=linf, got {self.eps:g}; write eps=8/255")
        if self.crop < 2:
            raise ValueError(f"ar: crop must be at least 2, the size of the start-up region, got {self.crop}")
        path = Path(self.coefficients)
        if self.coefficients and not (path.is_file() and path.suffix.lower() in SUFFIXES):
            raise ValueError(f"ar: coefficients={self.coefficients}: no such file of type {', '.join(SUFFIXES)}")

    @property
    def budget(self) -> Budget:
        return Budget(self.norm, self.eps)

    def content_digest(self) -> str | None:
        """Of the external coefficients; shipped ones count as source code."""
        return digest_files([Path(self.coefficients)]) if self.coefficients else None

    def check_fit(self, train: ImageSet) -> None:
        """Raises UserError if there are no coefficients for these channels and classes, or they cannot be read."""
        if train.info.shape[0] != 3:
            raise UserError(
                f"ar: coefficients exist for 3 channels, but {train.info.name} has {train.info.shape[0]}; "
                "choose lsp or ops, or repeat the channel"
            )
        self._load(train.info.num_classes)

    work = no_network

    def poison(self, train: ImageSet, ctx: Context) -> ImageSet:
        self.check_fit(train)
        coefficients = self._load(train.info.num_classes)
        ctx.log("coefficients_sha256", values_sha256(coefficients))
        generator = ctx.generator("delta-init")

        def make_delta(rows: slice) -> Tensor:
            return self._delta(coefficients, train.labels[rows], train.info.shape, generator)

        with ctx.phase("perturb"):
            return perturb(train, make_delta, ctx, linf=self.eps if self.norm == "linf" else None)

    def _load(self, num_classes: int) -> Tensor:
        """Float64 (K, 3, 3, 3): the external set, or the first K of the smallest shipped set that has so many."""
        if self.coefficients:
            return _read_external(Path(self.coefficients), num_classes)
        enough = [size for size in _SHIPPED if size >= num_classes]
        if not enough:
            raise UserError(
                f"ar: coefficients are shipped for up to {max(_SHIPPED)} classes, not {num_classes}; find more with "
                f"`python -m attacks.ar.coefficients --classes {num_classes} --out ar.npy` and set coefficients=ar.npy"
            )
        shipped = np.load(Path(__file__).parent / "data" / _SHIPPED[min(enough)], allow_pickle=False)
        return torch.from_numpy(shipped)[:num_classes]

    def _delta(
        self, coefficients: Tensor, labels: Tensor, shape: tuple[int, int, int], generator: torch.Generator
    ) -> Tensor:
        """Float64 (n, 3, H, W) of size `eps` an image, scaled over all channels jointly; continues the generator."""
        height, width = shape[1] + self.crop, shape[2] + self.crop
        needed = 3 * normals_needed(height, width)
        drawn = -(-needed // _NORMALS_AT_ONCE) * _NORMALS_AT_ONCE
        normals = torch.randn(len(labels), drawn, generator=generator, dtype=torch.float64)
        start = normals[:, :needed].reshape(len(labels), 3, -1)
        delta = torch.empty(len(labels), *shape, dtype=torch.float64)
        for label in torch.unique(labels).tolist():
            rows = labels == label
            fields = autoregress(coefficients[label], start[rows].transpose(0, 1), height, width)
            delta[rows] = fields[..., self.crop :, self.crop :].transpose(0, 1)
        flat = delta.flatten(1)
        size = flat.norm(dim=1) if self.norm == "l2" else flat.abs().amax(dim=1)
        return self.eps * delta / size[:, None, None, None]


def values_sha256(coefficients: Tensor) -> str:
    """Of the values as float32, little-endian, by class: the same set in another file has the same digest."""
    return hashlib.sha256(coefficients.to(torch.float32).numpy().astype("<f4").tobytes()).hexdigest()


def _read_external(path: Path, num_classes: int) -> Tensor:
    found = stacked(read_tensors(path), path)
    if found.ndim != 4 or found.shape[1:] != (3, 3, 3) or len(found) < num_classes:
        raise UserError(
            f"ar: {path} must hold at least ({num_classes}, 3, 3, 3) coefficients, got {tuple(found.shape)}"
        )
    windows = found[:num_classes].to(torch.float64)
    # The first CIFAR-100 file of the authors has a coefficient of 2.4e7 in class 9, which gives black images. Their
    # coefficients have four decimals: sums are within 0.0002 of 1.
    usable = (windows.abs() <= 10).all((2, 3)) & (windows[..., 2, 2] == 0) & ((windows.sum((2, 3)) - 1).abs() <= 0.01)
    if not usable.all():
        classes = (~usable.all(1)).nonzero().flatten().tolist()
        raise UserError(
            f"ar: {path}: the 3x3 windows of class {classes} must be finite, within -10..10, sum to 1 and "
            "be 0 at [2, 2]; replace them"
        )
    return windows
