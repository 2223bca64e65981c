"""One PNG file to the pixels of one image: converted where nothing is lost, refused with the reason elsewhere."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from bench.api import DataInfo
from bench.datasets.inputs import refuse_pointer
from bench.errors import UserError

_BIT_DEPTH = 24  # position of the byte in a PNG file
_AGAIN = "copy or unpack it again, or remove it: its image then stays clean"


def pixels(file: Path, info: DataInfo) -> Any:
    """uint8 (H, W, C) of the data set's shape.

    Other color types (palette, gray, opaque alpha) are converted if every pixel keeps its value.

    Raises:
        UserError: if the file is damaged, no PNG, of another size or depth, transparent, or colored for a gray set.
    """
    channels, height, width = info.shape
    try:
        content = file.read_bytes()
        with Image.open(io.BytesIO(content)) as whole:
            whole.verify()  # the checksum of every chunk
        with Image.open(io.BytesIO(content)) as png:
            png.load()
    except Image.DecompressionBombError as error:
        raise UserError(
            f"from-file: {file} has too many pixels ({str(error).partition(',')[0]}); "
            f"{info.name} needs {width}x{height}"
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        refuse_pointer(file, "from-file")
        reason = "it is empty or no image" if isinstance(error, UnidentifiedImageError) else error
        raise UserError(f"from-file: {file} cannot be read ({reason}); {_AGAIN}") from error
    found = f"{png.mode} {png.width}x{png.height}"
    wanted = f"but {info.name} needs 8-bit {'L' if channels == 1 else 'RGB'} {width}x{height}"
    if png.format != "PNG":
        why = "; its poison is gone: get the images as they were before" if png.format == "JPEG" else ""
        raise UserError(
            f"from-file: {file} is a {png.format} file that is called PNG{why or '; convert it without loss'}"
        )
    if png.size != (width, height):
        raise UserError(
            f"from-file: {file} is {found}, {wanted}; resizing would change the poison: get it in this size"
        )
    if content[_BIT_DEPTH] == 16:
        raise UserError(f"from-file: {file} has 16 bits a channel, {wanted}; convert it to 8 bits")
    return _converted(png, channels, f"from-file: {file} is {found}", wanted)


def _converted(png: Image.Image, channels: int, found: str, wanted: str) -> Any:
    if png.mode == {1: "L", 3: "RGB"}.get(channels) and "transparency" not in png.info:
        return np.asarray(png).reshape(png.height, png.width, channels)
    rgba = np.asarray(png.convert("RGBA"))
    if (rgba[..., 3] < 255).any():
        raise UserError(f"{found} and partly transparent, {wanted}; save the opaque images")
    if channels == 3:
        return rgba[..., :3]
    if (rgba[..., :3] == rgba[..., :1]).all():
        return rgba[..., :1]
    raise UserError(f"{found} and has colors, {wanted}; save the gray images")
