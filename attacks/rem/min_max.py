"""The two players inside REM (Fu et al., ICLR 2022, arXiv:2203.14533): a defender of the noise and its attacker."""

from dataclasses import dataclass

from torch import Tensor, nn

from bench.api import Budget, Context
from bench.training.crops import crop_and_resize, draw_boxes
from bench.training.moves import crop, draw_crops, draw_flips
from bench.training.pgd import pgd, random_start
from bench.training.surrogates import at_once


@dataclass(frozen=True)
class Players:
    """Settings of both. Draws continue from call to call, each purpose with its own generator on the device.

    Attributes:
        ctx: gives the generators `delta-init`, `transform` and `attack-init`.
        budget: of the defender.
        step_size: of the defender.
        steps: of the defender.
        samples: moves that the defender averages over at each step, every image with its own.
        attacker_budget: of the attacker.
        attacker_step_size: of the attacker.
        attacker_steps: 0 for no attacker.
        crop_padding: of the moves, in pixels.
        random_resized_crop: moves are boxes of the images, resized, instead.
        flip: mirror half of the images.
    """

    ctx: Context
    budget: Budget
    step_size: float
    steps: int
    samples: int
    attacker_budget: Budget
    attacker_step_size: float
    attacker_steps: int
    crop_padding: int
    random_resized_crop: bool
    flip: bool

    @property
    def passes(self) -> int:
        """Gradients that one image costs the defender."""
        return self.steps * self.samples * (self.attacker_steps + 1)

    def move(self, images_01: Tensor, aspect_ratios: Tensor | None = None) -> Tensor:
        """The images cropped and mirrored, each by its own fresh draw; differentiable.

        Args:
            images_01: float (B, C, H, W).
            aspect_ratios: (B,) of the originals of squeezed images, for resized crops; None for none squeezed.
        """
        if self.random_resized_crop:
            stream = self.ctx.stream("transform")
            ratios = images_01.new_ones(len(images_01)) if aspect_ratios is None else aspect_ratios
            boxes = draw_boxes(ratios, stream)
            return crop_and_resize(images_01, boxes, draw_flips(len(images_01), self.flip, stream))
        if not (self.crop_padding or self.flip):
            return images_01
        moves = draw_crops(len(images_01), self.crop_padding, self.flip, self.ctx.stream("transform"))
        return crop(images_01, moves)

    def attack(self, model: nn.Module, images_01: Tensor, labels: Tensor) -> Tensor:
        """Nearby images in [0, 1] with a large loss, found from a random start; labels repeat if they are fewer."""
        if not self.attacker_steps:
            return images_01
        if len(images_01) > len(labels):
            labels = labels.repeat(len(images_01) // len(labels))
        start = random_start(images_01, self.attacker_budget, self.ctx.stream("attack-init"))
        delta = pgd(
            model,
            images_01,
            labels,
            direction="maximize",
            budget=self.attacker_budget,
            step_size=self.attacker_step_size,
            steps=self.attacker_steps,
            start=(images_01 + start).clamp(0, 1) - images_01,
        )
        return images_01 + delta

    def defend(
        self, model: nn.Module, images_01: Tensor, labels: Tensor, aspect_ratios: Tensor | None = None
    ) -> Tensor:
        """Noise that makes the loss small under moves and attack (section 3 of the paper), from a random start.

        The gradient is taken at the attacked image and pulled back through the move alone: the attack counts as a
        constant. The images are clipped to [0, 1] inside the graph, so that nothing pulls where they saturate. The
        samples of a step share their passes where a GPU has room: a batch of 128 leaves most of one idle.

        Args:
            model: in any mode; frozen and in eval mode meanwhile.
            images_01: float (B, C, H, W) in [0, 1].
            labels: int64 (B,).
            aspect_ratios: as in `move`.

        Returns:
            float32 (B, C, H, W) within the budget; images_01 plus it may leave [0, 1].
        """
        return pgd(
            model,
            images_01,
            labels,
            direction="minimize",
            budget=self.budget,
            step_size=self.step_size,
            steps=self.steps,
            start=random_start(images_01, self.budget, self.ctx.stream("delta-init")),
            transform=lambda noisy: self.move(noisy, aspect_ratios),
            samples=self.samples,
            at_once=min(self.samples, max(1, at_once(images_01) // len(images_01))),
            inner=(lambda moved: self.attack(model, moved, labels)) if self.attacker_steps else None,
            box="graph",
        )
