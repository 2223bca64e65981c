"""Orthogonal projection (Sandoval-Segura et al., NeurIPS 2023, arXiv:2305.19254).

A linear classifier finds the directions by which the images of each class can be told; the projection removes them.

The authors' victims train with strong augmentation too, so that their numbers mix both. Here are three defenses: `op`,
the projection alone; `aug`, the augmentation alone; `op-aug`, both.

Deviations:
- The authors keep floats, which leave [0, 1]. Every set is uint8 here: images are clipped and rounded. What comes back
  of the removed directions is logged (`returned_share`), and how many values were clipped (`clipped_share`).
  After few batches of the classifier (40 in place of the paper's 980) a third of all values can be clipped, and the
  victim is at chance: small sets need smaller batches (docs/measurements.md).
- The basis comes from a singular value decomposition, not from QR: the same space, also if two rows are the same.
- The victim keeps its own recipe; theirs is 50 epochs with a weight decay of 1e-4.
"""

from defenses.orthogonal_projection import augmentation, projection

__all__ = ["augmentation", "projection"]
