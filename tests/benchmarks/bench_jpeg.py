"""JPEG-10 of a training set: all images of a chunk as one, against a loop over images."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.datasets import loading
from defenses.jpeg.codec import jpeg_round_trip

from .ratio import Run


def bench_jpeg(run: Run) -> None:
    """ISS JPEG-10; plain: a Pillow loop."""
    run.device = torch.device("cpu")
    count = run.size(full=5000, tiny=32)
    images = loading.load(f"shapes:train={count}:test=10", run.folder).train.images
    levels = int((jpeg_round_trip(images, 10).int() - pillow(images).int()).abs().max())
    note = f"pixels differ by at most {levels}"
    run.ratio(lambda: jpeg_round_trip(images, 10), lambda: pillow(images), at_least=3, count=count, note=note)


def pillow(images_u8: Tensor) -> Tensor:
    """Image by image through the imaging library, encoded and decoded in memory."""
    out = []
    for image in images_u8.permute(0, 2, 3, 1).numpy():
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=10)
        out.append(np.asarray(Image.open(buffer)))
    return torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2)
