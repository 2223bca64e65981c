"""Orthogonal projection (Sandoval-Segura et al., NeurIPS 2023, arXiv:2305.19254).

A linear classifier finds the directions by which the images of each class can be told; the projection removes them.

The authors' victims train with strong augmentation too, so that their numbers mix both. Here are three defenses: `op`,
the projection alone; `aug`, the augmentation alone; `op-aug`, both.

Deviations:
- The authors keep floats, which leave [0, 1]. Every set is uint8 here: images are clipped and rounded. What comes back
  of the removed directions is logged (`returned_share`), and how many values were clipped (`clipped_share`).
  That can cost everything: on the embedded set a third of all values is clipped, and the victim is at chance also on
  clean images (docs/measurements.md). `center=true`, ours, lets the mean image keep its share, and clips next to none.
- The basis comes from a singular value decomposition, not from QR: the same space, also if two rows are the same.
- The victim keeps its own recipe; theirs is 50 epochs with a weight decay of 1e-4.
"""

from defenses.orthogonal_projection import augmentation, projection

__all__ = ["augmentation", "projection"]
