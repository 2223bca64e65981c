"""Scores of a poison, of its remains and of the victim, in words; the formula of those that pages compute too."""

from __future__ import annotations

import math
from dataclasses import dataclass

_SHARE = "share, 0 to 1"
_RANGE = "of the pixel range"


@dataclass(frozen=True)
class Score:
    """A number in `CellResult.scores`.

    Attributes:
        label: what it is called for readers.
        meaning: one sentence.
        unit: of the value; shares, cosines and norms say their range or scale.
        direction: what a high or a low value says; "" for a number of images.
    """

    label: str
    meaning: str
    unit: str
    direction: str = ""

    @property
    def explanation(self) -> str:
        """Meaning and direction as one text."""
        return f"{self.meaning} {self.direction}".strip()


BANDS = ((0.0, 0.0625), (0.0625, 0.125), (0.125, 0.25), (0.25, 0.5), (0.5, 0.71))
"""Radial frequency bands in cycles per pixel, an octave each; a frequency at a border belongs to the upper band."""

SCORES = {
    "poison_psnr_db": Score(
        "PSNR of the poison",
        "Peak signal-to-noise ratio of the poisoned images against the same images before, over all entries.",
        "dB",
        "Higher: a smaller perturbation.",
    ),
    "poison_ssim": Score(
        "SSIM of the poison",
        "Mean structural similarity of the poisoned images and the same images before, in 11 x 11 Gaussian windows.",
        "0 to 1",
        "Higher: harder to see; 1: equal images.",
    ),
    "poison_ssim_images": Score("images behind SSIM", "How many images were compared for SSIM.", "images"),
    "poison_linf_max": Score(
        "largest change of an entry",
        "L-inf norm of the perturbation after rounding to 8 bits, the largest over images.",
        _RANGE,
        "Lower: a smaller perturbation.",
    ),
    "poison_l2_mean": Score(
        "mean L2 norm",
        "L2 norm of an image's perturbation, mean over images.",
        _RANGE,
        "Lower: a smaller perturbation.",
    ),
    "poison_l2_max": Score(
        "largest L2 norm",
        "L2 norm of an image's perturbation, the largest over images.",
        _RANGE,
        "Lower: a smaller perturbation.",
    ),
    "poison_l0_max": Score(
        "most pixels changed",
        "L0 norm: how many pixels of an image the attack changed, the largest over images.",
        "pixels",
        "Lower: a smaller perturbation.",
    ),
    "poisoned_images": Score(
        "images offered to the attack",
        "How many images the attack was allowed to change (poison rate, classes).",
        "images",
    ),
    "poison_separability": Score(
        "linear separability, held out",
        "Share of held-out perturbations whose class a linear classifier finds.",
        _SHARE,
        "Higher: easier to learn as a shortcut.",
    ),
    "poison_separability_images": Score(
        "images behind separability", "How many held-out perturbations the linear classifier was judged on.", "images"
    ),
    "poison_published_separability": Score(
        "linear separability, as published",
        "Share of all perturbations, scaled to 0..1, that a linear network fits in 500 steps of L-BFGS with learning "
        "rate 0.5; nothing is held out. Only with more images than weights (classes x entries), on a GPU or if short.",
        _SHARE,
        "Far above the value with shuffled labels: easy to learn.",
    ),
    "poison_shuffled_separability": Score(
        "the same with shuffled labels",
        "The published test on the same perturbations with shuffled labels: what any noise reaches.",
        _SHARE,
        "Near the value above: that value says nothing.",
    ),
    "poison_class_share": Score(
        "class-wise share",
        "Share of the perturbation's energy that is one pattern per class.",
        _SHARE,
        "1: class-wise noise; near 0: sample-wise noise.",
    ),
    "poison_at_bound_share": Score(
        "entries at the bound",
        "Share of the poisoned images' entries that use the whole radius of an L-inf budget.",
        _SHARE,
        "Higher: the budget is used more fully.",
    ),
    "poison_negative_share": Score(
        "entries made darker",
        "Share of the changed entries that became darker.",
        _SHARE,
        "Near 0.5: as many became darker as brighter.",
    ),
    "poison_clipped_share": Score(
        "entries at black or white",
        "Share of the changed entries that ended at 0 or 255, where the perturbation may have been cut.",
        _SHARE,
        "Higher: more of the perturbation may be lost.",
    ),
    **{
        f"poison_band_{n}": Score(
            f"energy at {low:g} to {high:g} cycles per pixel",
            "Share of the perturbation's energy at these spatial frequencies.",
            _SHARE,
            "0 cycles: one color for the image; 0.5 and more: from pixel to pixel.",
        )
        for n, (low, high) in enumerate(BANDS, start=1)
    },
    **{
        f"poison_channel_{n}": Score(
            f"energy in {color}",
            f"Share of the perturbation's energy in channel {n}.",
            _SHARE,
            "A third each: no channel is preferred.",
        )
        for n, color in enumerate(("red", "green", "blue"), start=1)
    },
    "purified_psnr_db": Score(
        "PSNR after the defense",
        "Peak signal-to-noise ratio of the purified against the clean training images; empty if they are equal.",
        "dB",
        "Higher: closer to the clean images.",
    ),
    "residual_poison_ratio": Score(
        "poison left",
        "Share of the class-wise part of the perturbation that is left after the defense.",
        "ratio",
        "Lower is better; 0: none is left, 1: all of it, below 0: it was turned around.",
    ),
    "perturbation_cosine": Score(
        "cosine with the perturbation",
        "Cosine of the perturbation that the defense estimates with the true one, mean over images.",
        "−1 to 1",
        "Higher is better; 1: the same direction, 0: unrelated.",
    ),
    "perturbation_class_cosine": Score(
        "cosine of the class means",
        "Cosine of the class means of the estimated and of the true perturbation, mean over classes.",
        "−1 to 1",
        "Higher is better; 1: the same direction, 0: unrelated.",
    ),
    "victim_gradient_agreement": Score(
        "agreement of the victim's gradients",
        "Cosine of the trained network's gradients of one logit at two test images, mean over pairs; our measure.",
        "−1 to 1",
        "1: a linear network; near 0: what counts depends on the image.",
    ),
    "victim_gradient_images": Score(
        "images behind the agreement", "How many test images the gradients were compared at, in pairs.", "images"
    ),
}
"""By name in `CellResult.scores`; in `cells.csv` the name follows `score_`."""


def psnr_db(square_error: float, entries: int) -> float | None:
    """Peak signal-to-noise ratio of 8-bit images; None if they are equal.

    Args:
        square_error: sum of squared differences, in levels of 0..255.
        entries: pixels times channels, of all images.
    """
    return 10 * math.log10(255**2 * entries / square_error) if square_error > 0 else None
