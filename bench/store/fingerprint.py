"""SHA-256 of images, known before a stage and compared after it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from torch import Tensor

_CHUNK = 4096  # images


@dataclass(frozen=True)
class Fingerprint:
    """A digest of images together with the bytes that were hashed before them.

    Attributes:
        head: bytes before the pixels: labels and shape, or the header of a data file.
        digest: sha256 of `head` and the pixels, hexadecimal.
    """

    head: bytes
    digest: str

    @classmethod
    def of(cls, head: bytes, images: Tensor) -> Fingerprint:
        """Hashes uint8 images (N, C, H, W) after `head`; reads memory-mapped ones in chunks."""
        total = hashlib.sha256(head)
        for start in range(0, len(images), _CHUNK):
            total.update(images[start : start + _CHUNK].contiguous().numpy().data)
        return cls(head, total.hexdigest())

    def fits(self, images: Tensor) -> bool:
        """True if these are the images that were hashed."""
        return Fingerprint.of(self.head, images) == self
