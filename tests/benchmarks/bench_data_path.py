"""Ratios of our data path to the plain way of doing the same, interleaved in one process (`make bench-speed`).

Each benchmark times ours; `extra_info` holds the plain baseline's seconds and the ratio plain / ours, both from
alternating rounds, as median with the smallest and the largest.
"""

import io
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from bench import data
from bench.training import Batches
from defenses.jpeg import jpeg_round_trip

ROUNDS = 5


def compare(benchmark, ours: Callable[[], object], plain: Callable[[], object]) -> None:
    """Times both in turn; the benchmark's own statistics are of `ours`."""
    ours()
    plain()
    ratios, seconds = [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        plain()
        middle = time.perf_counter()
        ours()
        end = time.perf_counter()
        seconds.append(middle - start)
        ratios.append((middle - start) / (end - middle))
    benchmark.extra_info["plain_seconds_median"] = median(seconds)
    benchmark.extra_info["ratio_median_min_max"] = [median(ratios), min(ratios), max(ratios)]
    benchmark.pedantic(ours, rounds=ROUNDS)


class PlainSet(Dataset):
    """One image at a time through the imaging library, as tutorials do it."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.images, self.labels = images.permute(0, 2, 3, 1).numpy(), labels.tolist()
        self.transform = transforms.Compose(
            [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int):
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def bench_batches(benchmark, tmp_path):
    """Shuffled, cropped, flipped float batches of 5,000 images."""
    train = data.load("shapes:train=5000:test=10", tmp_path).train
    ours = Batches(train, torch.device("cpu"), 128, torch.Generator(), crop_padding=4, flip=True)
    plain = DataLoader(PlainSet(train.images, train.labels), 128, shuffle=True, num_workers=2)
    compare(benchmark, lambda: sum(1 for _ in ours), lambda: sum(1 for _ in plain))


def bench_jpeg(benchmark, tmp_path):
    """JPEG-10 of 5,000 images."""
    images = data.load("shapes:train=5000:test=10", tmp_path).train.images

    def pillow() -> None:
        for image in images.permute(0, 2, 3, 1).numpy():
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "JPEG", quality=10)
            np.asarray(Image.open(buffer))

    compare(benchmark, lambda: jpeg_round_trip(images, 10), pillow)
