"""Poisons made elsewhere: images or noise from a file, or a folder of PNG images.

Signed noise is added first and clipped after. Loaders published with some attacks clip the noise itself to 0..255 and
lose its negative half; here it is kept.
"""

import math
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from attacks.from_file.arrays import Wanted, locate
from attacks.from_file.content import interpret
from attacks.from_file.fit import check
from attacks.from_file.found import Found
from attacks.from_file.png_folder import open_folder, png_files
from bench.api import Budget, Context, ImageSet, PartialPoison, map_images, no_network
from bench.datasets.tensor_files import PICKLES, SUFFIXES, conversion, digest_files
from bench.registry import attacks

_ENTRIES_AT_ONCE = 2**22  # of float64 noise: 32 MiB, 1365 images of 32x32


@attacks.register("from-file", deterministic=True)
@dataclass(frozen=True)
class FromFile(PartialPoison):
    """Imports a poison made elsewhere: whole images, or noise to be added, in the order of the training set.

    Costs reading the file. Before any work it is compared with the clean images: a poison in another order, of another
    norm, or with a broken class is refused with the reason. One that holds a part of the set poisons that part.

    Attributes:
        path: a folder of PNG images named by index (the number that ends the name), perhaps in `data` or in a folder
            for each class; or a .npy, .npz, .safetensors, .pt or .pth file: an array, a list or a dict of them, with
            `indices` next to it if it holds a part of the set. Nothing is unpickled.
        array: its name, for a file that holds several.
        content: `images` (0..255, or floats in 0..1) or `noise` (signed, on the [0, 1] scale or in whole levels);
            `auto` decides by type, range and likeness to the clean images, and logs why.
        wise: one noise for each image (`sample`) or each class (`class`); `auto` decides by their number.
        norm: of the declared budget: `linf`, `l2`, `l0`, or `none` for poisons without a bound (blurs, recoloring).
        eps: its radius on the [0, 1] scale; pixels for `l0`; left out for `none`.
        craft_on: leave at `all`: the file covers the whole set.
    """

    path: str
    array: str = ""
    content: Literal["auto", "images", "noise"] = "auto"
    wise: Literal["auto", "sample", "class"] = "auto"
    norm: Literal["linf", "l2", "l0", "none"] = "linf"
    eps: float = 8 / 255
    craft_on: Literal["subset", "all"] = field(default="all", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        path = Path(self.path)
        if not path.exists():
            raise ValueError(f"from-file: path {self.path!r} does not exist; relative paths start at {Path.cwd()}")
        if not path.is_file() and not path.is_dir():
            raise ValueError(
                f"from-file: path {self.path!r} is a pipe, a device or a socket; "
                "copy its content into a file, and give that"
            )
        if path.is_file() and path.suffix.lower() in PICKLES:
            raise ValueError(f"from-file: {conversion(path, 'is a pickle')}")
        if path.is_file() and path.suffix.lower() not in SUFFIXES:
            raise ValueError(
                f"from-file: path {self.path!r} must be a folder of PNG images or a file of type {', '.join(SUFFIXES)}"
            )
        if path.is_dir() and (self.content == "noise" or self.wise == "class" or self.array):
            raise ValueError(f"from-file: {self.path!r} is a folder of whole images; leave out array, content and wise")
        if self.content == "images" and self.wise == "class":
            raise ValueError("from-file: wise=class is for noise; whole images come one for each image")
        for name, value, choices in (
            ("content", self.content, ("auto", "images", "noise")),
            ("wise", self.wise, ("auto", "sample", "class")),
        ):
            if value not in choices:
                raise ValueError(f"from-file: {name} must be one of {', '.join(choices)}, got {value!r}")
        if self.norm == "none" and self.eps != FromFile.eps:
            raise ValueError(f"from-file: norm=none has no radius; leave out eps, got {self.eps:g}")
        if not (math.isfinite(self.eps) and self.eps > 0) or (self.norm == "linf" and self.eps > 1):
            raise ValueError(
                f"from-file: eps must be > 0, and at most 1 for linf, got {self.eps:g}; write eps=8/255 for 8 levels"
            )
        if self.craft_on != "all":
            raise ValueError("from-file: craft_on must be all; with poison_rate < 1 only a part of the file is used")

    @property
    def budget(self) -> Budget:
        return Budget("none") if self.norm == "none" else Budget(self.norm, self.eps)

    def content_digest(self) -> str:
        """Of the file, or of all PNG files of the folder, with their names."""
        path = Path(self.path)
        return digest_files([path]) if path.is_file() else digest_files(png_files(path), path)

    def held_rows(self, train: ImageSet) -> Tensor | None:
        """Positions of the images the file holds; None if it holds all."""
        path = Path(self.path)
        entry_of = (open_folder(path, train) if path.is_dir() else locate(path, self._wanted, train)).entry_of
        return None if bool((entry_of >= 0).all()) else (entry_of >= 0).nonzero().flatten()

    def check_fit(self, train: ImageSet) -> None:
        """Raises UserError, with what to do, if the file does not fit the training set or exceeds its budget."""
        rows = self.rows_of(train.labels, train.info.num_classes)
        check(self._open(train, rows), train, rows, self.budget)

    work = no_network

    def poison(self, train: ImageSet, ctx: Context) -> ImageSet:
        rows = self.rows_of(train.labels, train.info.num_classes)
        with ctx.phase("read"):
            found = self._open(train, rows)
        for note in found.notes:
            warnings.warn(note, stacklevel=1)
        if not bool((found.entry_of[rows] >= 0).all()):
            held = int((found.entry_of[rows] >= 0).sum())
            warnings.warn(
                f"from-file: {self.path} holds {held} of {len(rows)} images; the others stay clean", stacklevel=1
            )
        with ctx.phase("check"):
            for name, value in check(found, train, rows, self.budget).items():
                ctx.log(name, value)
        offered = torch.isin(torch.arange(len(train)), rows) & (found.entry_of >= 0)

        def apply(images_u8: Tensor, here: slice) -> Tensor:
            inside = offered[here].nonzero().flatten()
            images = images_u8.clone()
            images[inside] = found.onto(found.entry_of[here][inside], images_u8[inside])
            return images

        with ctx.phase("perturb"):
            return map_images(train, apply, ctx, chunk=max(1, _ENTRIES_AT_ONCE // math.prod(train.info.shape)))

    @property
    def _wanted(self) -> Wanted:
        return Wanted(self.array, self.content, self.wise)

    def _open(self, train: ImageSet, rows: Tensor) -> Found:
        path = Path(self.path)
        if path.is_dir():
            return open_folder(path, train)
        return interpret(locate(path, self._wanted, train), self._wanted, train, rows)
