"""Batches for training: the resident data set against a data set that hands out one image at a time."""

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from bench.datasets import loading
from bench.training import Batches

from .ratio import Run


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


def bench_batches(run: Run) -> None:
    """Batches for training (crop, flip, to float); plain: torchvision and DataLoader, 2 workers."""
    count = run.size(full=5000, tiny=64)
    train = loading.load(f"shapes:train={count}:test=10", run.folder).train
    ours = Batches(train, run.device, 128, torch.Generator(), crop_padding=4, flip=True)
    # Workers are started once, so that what is compared is an epoch in the middle of a training.
    plain = DataLoader(PlainSet(train.images, train.labels), 128, shuffle=True, num_workers=2, persistent_workers=True)

    def plain_epoch() -> None:
        for images, labels in plain:
            images.to(run.device), labels.to(run.device)

    run.ratio(lambda: sum(1 for _ in ours), plain_epoch, at_least=5, count=count)
