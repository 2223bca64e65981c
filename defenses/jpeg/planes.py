"""JPEG of many images at once: all planes of one kind are coded as a single tall gray image.

Coding thousands of small images costs more in calls than in arithmetic. Color conversion, chroma halving and the
decoder's smooth chroma doubling are done here, in the IJG library's integer arithmetic; transform and quantisation are
the library's own. Blocks do not influence each other, so the pixels are those of coding every image by itself.

The arithmetic is float32 on whole numbers below 2**24, which is exact.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_BLOCK = 8
_TALLEST = 65000  # rows; the format ends at 65,535, the library a little earlier
_PIXELS_AT_ONCE = 2**18  # 256 images of 32x32: their planes as floats stay in a CPU's caches
_UNIT = 2.0**-16  # the library's color constants are multiples of this

_TO_YCBCR = ((19595, 38470, 7471), (-11059, -21709, 32768), (32768, -27439, -5329))
_TO_YCBCR_OFFSET = (32768, (128 << 16) + 32767, (128 << 16) + 32767)

# The IJG tables at quality 50, row by row.
_LUMA = (
    *(16, 11, 10, 16, 24, 40, 51, 61),
    *(12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77),
    *(24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101),
    *(72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    *(17, 18, 24, 47, 99, 99, 99, 99),
    *(18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99),
    *(47, 66, 99, 99, 99, 99, 99, 99),
    *(99,) * 32,
)


def round_trip_in_planes(images_u8: Tensor, quality: int) -> Tensor:
    """Images after encoding (4:2:0 chroma) and decoding.

    Args:
        images_u8: uint8 (N, C, H, W) with 1 or 3 channels, any size.
        quality: 1 (strongest) to 100.
    """
    out = torch.empty_like(images_u8, memory_format=torch.contiguous_format)
    size = max(1, _PIXELS_AT_ONCE // (images_u8.shape[2] * images_u8.shape[3]))
    for before, after in zip(images_u8.split(size), out.split(size), strict=True):
        if images_u8.shape[1] == 1:
            after[:, 0] = _coded(before[:, 0], _scaled(_LUMA, quality))
        else:
            _color(before, quality, after)
    return out


def _color(images_u8: Tensor, quality: int, out: Tensor) -> None:
    height, width = images_u8.shape[2:]
    red, green, blue = images_u8.float().unbind(1)
    y, cb, cr = (
        (red * r).add_(green, alpha=g).add_(blue, alpha=b).add_(offset).mul_(_UNIT).floor_()
        for (r, g, b), offset in zip(_TO_YCBCR, _TO_YCBCR_OFFSET, strict=True)
    )
    luma = _coded(y.byte(), _scaled(_LUMA, quality)).float()
    chroma = _coded(torch.cat([_halved(cb), _halved(cr)]), _scaled(_CHROMA, quality))[..., : (width + 1) // 2].float()
    cb, cr = (_doubled(chroma)[:, :height, :width] - 128).chunk(2)
    shifts = (cr * 91881, (cb * -22554).add_(cr, alpha=-46802), cb * 116130)
    for channel, shift in enumerate(shifts):
        out[:, channel] = shift.add_(32768).mul_(_UNIT).floor_().add_(luma).clamp_(0, 255)


def _scaled(table: tuple[int, ...], quality: int) -> list[int]:
    """The table for a quality, as the IJG library scales it for baseline files."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return [min(max((entry * percent + 50) // 100, 1), 255) for entry in table]


def _coded(planes_u8: Tensor, table: list[int]) -> Tensor:
    """uint8 (N, h, w), each plane transformed, quantised and back; encoder and decoder work on 8x8 blocks."""
    height, width = planes_u8.shape[1:]
    padded = _extended(planes_u8, -height % _BLOCK, -width % _BLOCK)
    per_strip = max(1, _TALLEST // padded.shape[1])
    strips = [_coded_strip(strip, table) for strip in padded.split(per_strip)]
    return torch.cat(strips)[:, :height, :width]


def _coded_strip(planes_u8: Tensor, table: list[int]) -> Tensor:
    file = io.BytesIO()
    Image.fromarray(planes_u8.flatten(0, 1).numpy()).save(file, "JPEG", qtables=[table])
    return torch.from_numpy(np.array(Image.open(file))).view_as(planes_u8)


def _extended(planes: Tensor, rows: int, columns: int) -> Tensor:
    """The last row and column repeated."""
    if rows:
        planes = torch.cat([planes, planes[:, -1:].expand(-1, rows, -1)], dim=1)
    if columns:
        planes = torch.cat([planes, planes[:, :, -1:].expand(-1, -1, columns)], dim=2)
    return planes


def _halved(plane: Tensor) -> Tensor:
    """Float (N, H, W) to uint8 of half the size, rounded down and up in turn; as wide as whole blocks need."""
    plane = _extended(plane, plane.shape[1] % 2, -plane.shape[2] % (2 * _BLOCK))
    top, bottom = plane[:, 0::2], plane[:, 1::2]
    pairs = top + bottom
    sums = pairs[..., 0::2] + pairs[..., 1::2]
    bias = torch.tensor([1.0, 2.0]).repeat(sums.shape[2] // 2)
    return sums.add_(bias).mul_(0.25).byte()


def _doubled(plane: Tensor) -> Tensor:
    """Float (N, h, w) to twice the size: a new sample is three parts the nearest and one part the next old one.

    Planes of at most two columns are repeated instead, as the library does.
    """
    if plane.shape[2] <= 2:
        return plane.repeat_interleave(2, 1).repeat_interleave(2, 2)
    tall = plane.new_empty(plane.shape[0], 2 * plane.shape[1], plane.shape[2])
    tall[:, 0::2], tall[:, 1::2] = _mixed(plane, 1)
    wide = plane.new_empty(*tall.shape[:2], 2 * plane.shape[2])
    left, right = _mixed(tall, 2)
    wide[..., 0::2], wide[..., 1::2] = left.add_(8), right.add_(7)
    return wide.mul_(1 / 16).floor_()


def _mixed(plane: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Three times the plane plus its neighbor before, and after; at the border the neighbor is the sample itself."""
    size = plane.shape[dim]
    tripled = plane * 3
    before, after = tripled + plane, tripled + plane
    if size > 1:
        inner, outer = plane.narrow(dim, 0, size - 1), plane.narrow(dim, 1, size - 1)
        before.narrow(dim, 1, size - 1).copy_(tripled.narrow(dim, 1, size - 1) + inner)
        after.narrow(dim, 0, size - 1).copy_(tripled.narrow(dim, 0, size - 1) + outer)
    return before, after
