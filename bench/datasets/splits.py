"""Training and test images, with the digests that root every key."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.api import ImageSet
from bench.store.fingerprint import Fingerprint


class Dataset(Protocol):
    """Loads a data set. A frozen dataclass: its fields are its parameters."""

    def load(self, root: Path) -> Splits:
        """Reads (or downloads, or draws) the images; `root` is the folder of downloaded and prepared data."""
        ...


@dataclass(frozen=True)
class Splits:
    """Images that attacker and defender get (`train`) and images that only the judge sees (`test`).

    Attributes:
        clean: training images that no attack sees, for defenses that declare clean data; None if none are kept.
        notes: what was done to the stored data that their owner should know.
    """

    train: ImageSet
    test: ImageSet
    stored_digests: tuple[str, str] | None = None
    notes: tuple[str, ...] = ()
    clean: ImageSet | None = None

    @functools.cached_property
    def digests(self) -> tuple[str, ...]:
        """`content_digest` of training, test and, if there are any, clean images; computed unless they were stored."""
        both = self.stored_digests or (content_digest(self.train), content_digest(self.test))
        return both if self.clean is None else (*both, content_digest(self.clean))


def content_head(images: ImageSet) -> bytes:
    """Everything of an image set but its pixels: shape, number of classes, labels, aspect ratios."""
    head = f"{tuple(images.images.shape)} {images.info.num_classes}".encode()
    head += images.labels.contiguous().numpy().tobytes()
    return head if images.aspect_ratios is None else head + images.aspect_ratios.contiguous().numpy().tobytes()


def content_digest(images: ImageSet) -> str:
    """sha256 of shape, labels, aspect ratios and pixels."""
    return Fingerprint.of(content_head(images), images.images).digest
