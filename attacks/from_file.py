"""Poisons made elsewhere: images or noise from a file, or a folder of PNG images.

Signed noise is added first and clipped after. Loaders published with some attacks clip the noise itself to 0..255 and
lose its negative half; set `content=noise` here and it is kept.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from attacks.png_folder import decode, files_by_index, png_files
from attacks.quantiser import perturb
from attacks.tensor_files import SUFFIXES, digest_files, read_tensors
from bench.api import Budget, Context, DataInfo, ImageSet, PartialPoison, map_images
from bench.errors import UserError
from bench.registry import attacks

_KNOWN_ARRAYS = ("images", "perturbation", "noise", "delta", "x_train")
_KNOWN_LABELS = ("labels", "y_train", "targets")
_LEVELS = (torch.int8, torch.int16, torch.int32, torch.int64)


@attacks.register("from-file", deterministic=True)
@dataclass(frozen=True)
class FromFile(PartialPoison):
    """Imports a poison made elsewhere: whole images, or noise to be added; the file must be in training-set order.

    Costs reading the file. The declared budget is checked like that of any attack, so a wrong order shows at once.

    Attributes:
        path: a folder of PNG images named by index (the number that ends the name; 0..N-1, all there), or a
            .npy, .npz, .safetensors, .pt or .pth file. Nothing is unpickled.
        array: its name, for a file that holds several.
        content: `images` (uint8, or floats in 0..1) or `noise` (signed floats on the [0, 1] scale, or integer levels
            such as int8). `auto` takes uint8 for images and integers or anything with negative values for noise.
        wise: one noise for each image (`sample`) or each class (`class`); `auto` decides by their number.
        norm: of the declared budget: `linf`, `l2` or `l0`.
        eps: its radius on the [0, 1] scale; pixels for `l0`.
        craft_on: leave at `all`: the file covers the whole set.
    """

    path: str
    array: str = ""
    content: Literal["auto", "images", "noise"] = "auto"
    wise: Literal["auto", "sample", "class"] = "auto"
    norm: Literal["linf", "l2", "l0"] = "linf"
    eps: float = 8 / 255
    craft_on: Literal["subset", "all"] = field(default="all", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        path = Path(self.path)
        if not path.exists():
            raise ValueError(f"from-file: path {self.path!r} does not exist; relative paths start at {Path.cwd()}")
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
        if not (math.isfinite(self.eps) and self.eps > 0) or (self.norm == "linf" and self.eps > 1):
            raise ValueError(
                f"from-file: eps must be > 0, and at most 1 for linf, got {self.eps:g}; write eps=8/255 for 8 levels"
            )
        if self.craft_on != "all":
            raise ValueError("from-file: craft_on must be all; with poison_rate < 1 only a part of the file is used")

    @property
    def budget(self) -> Budget:
        return Budget(self.norm, self.eps)

    def content_digest(self) -> str:
        """Of the file, or of all PNG files of the folder, with their names."""
        path = Path(self.path)
        return digest_files([path] if path.is_file() else png_files(path))

    def poison(self, train: ImageSet, ctx: Context) -> ImageSet:
        path = Path(self.path)
        if path.is_dir():
            files = files_by_index(path, len(train))
            with ctx.phase("read"):
                return map_images(train, lambda _, rows: decode(files[rows], train.info), ctx)
        with ctx.phase("read"):
            values = self._choose(path, train)
            values = _channels_first(values, train.info, path)
            content = self._content_of(values)
        with ctx.phase("perturb"):
            if content == "images":
                self._check_count(values, {"sample": len(train)})
                if values.dtype == torch.uint8:
                    return map_images(train, lambda _, rows: values[rows], ctx)
                return map_images(train, lambda _, rows: (values[rows].double() * 255).round().to(torch.uint8), ctx)
            wise = self._check_count(values, {"sample": len(train), "class": train.info.num_classes})
            scale = 255 if values.dtype in _LEVELS else 1

            def make_delta(rows: slice) -> Tensor:
                return values[rows if wise == "sample" else train.labels[rows]].double() / scale

            return perturb(train, make_delta, ctx)

    def _choose(self, path: Path, train: ImageSet) -> Tensor:
        """The array to import; labels found beside it must be those of the training set."""
        tensors = read_tensors(path)
        for name in _KNOWN_LABELS:
            stored = tensors.get(name)
            if stored is not None and stored.ndim == 1 and not torch.equal(stored.to(torch.int64), train.labels):
                raise UserError(
                    f"from-file: {path}: its {name!r} differ from the labels of {train.info.name}; "
                    "it is of another data set or in another order: sort it as the training set, or remove them"
                )
        if self.array:
            if self.array not in tensors:
                raise UserError(f"from-file: {path} has no array {self.array!r}; it has: {', '.join(tensors)}")
            return tensors[self.array]
        known = list(tensors) if len(tensors) == 1 else [name for name in _KNOWN_ARRAYS if name in tensors]
        if len(known) != 1:
            raise UserError(f"from-file: {path} holds several arrays; choose one with array=: {', '.join(tensors)}")
        return tensors[known[0]]

    def _content_of(self, values: Tensor) -> Literal["images", "noise"]:
        """Images or noise, after a check of type and range."""
        if values.dtype == torch.uint8:
            if self.content == "noise":
                raise UserError(f"from-file: {self.path}: uint8 cannot hold signed noise; export int8 or float32")
            return "images"
        if values.dtype not in _LEVELS and not values.dtype.is_floating_point:
            raise UserError(f"from-file: {self.path}: cannot import {values.dtype}; export uint8, int8 or float32")
        low, high = (float(bound) for bound in values.aminmax())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise UserError(f"from-file: {self.path}: has entries that are NaN or infinite; make the poison again")
        levels = values.dtype in _LEVELS
        content = self.content
        if content == "auto":
            if not levels and low >= 0:
                raise UserError(
                    f"from-file: {self.path}: floats in {low:g}..{high:g} may be images or noise; "
                    "set content=images or content=noise"
                )
            content = "noise"
        if content == "images" and levels:
            raise UserError(f"from-file: {self.path}: {values.dtype} is for noise levels; export images as uint8")
        lowest, highest = (0.0, 1.0) if content == "images" else (-255.0, 255.0) if levels else (-1.0, 1.0)
        if not lowest <= low <= high <= highest:
            raise UserError(
                f"from-file: {self.path}: {content} as {values.dtype} must lie in {lowest:g}..{highest:g}, "
                f"found {low:g}..{high:g}; undo any normalization, and divide 0..255 by 255"
            )
        return content

    def _check_count(self, values: Tensor, expected: dict[str, int]) -> str:
        """Which of `expected` (`sample`, `class`) the number of entries fits, if `wise` leaves a choice."""
        fits = [wise for wise, count in expected.items() if len(values) == count and self.wise in ("auto", wise)]
        if len(fits) == 1:
            return fits[0]
        wanted = " or ".join(
            f"{count} ({wise}-wise)" for wise, count in expected.items() if self.wise in ("auto", wise)
        )
        if not fits:
            raise UserError(f"from-file: {self.path} has {len(values)} entries, the data set needs {wanted}")
        raise UserError(f"from-file: {self.path} has {len(values)} entries, which fits both; set wise=sample or class")


def _channels_first(values: Tensor, info: DataInfo, path: Path) -> Tensor:
    channels, height, width = info.shape
    if values.shape[1:] == info.shape:
        return values
    if values.shape[1:] == (height, width, channels):
        return values.permute(0, 3, 1, 2)
    raise UserError(
        f"from-file: {path} holds {tuple(values.shape)}, but {info.name} needs (N, {channels}, {height}, {width}) "
        f"or (N, {height}, {width}, {channels}); resize or transpose it"
    )
