"""D-VAE the way its released code runs it, dead weight included: the baseline of `bench_dvae`.

Written from a description of that code.
What enters no loss but is computed: the rest of a ResNet-18 after the encoder (a classification branch), and four
forward passes a step of a trained classifier, whose losses are only logged, each read by the host at once. Which
images go through the classifier is our reading; it does not change the cost. Purification keeps the graph of the
gradients, computes both decoders and the dead branch in every pass, and copies images to the host one by one.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """The basic block of a ResNet-18."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


def trunk() -> nn.Sequential:
    """From images to 128x16x16."""
    stem = (nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU())
    return nn.Sequential(*stem, Block(64, 64, 1), Block(64, 64, 1), Block(64, 128, 2))


def rest() -> nn.Sequential:
    """From there to ten logits."""
    blocks = (Block(128, 128, 1), Block(128, 256, 2), Block(256, 256, 1), Block(256, 512, 2), Block(512, 512, 1))
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def decoder() -> nn.Sequential:
    """From 128x16x16 to images."""
    return nn.Sequential(
        nn.ConvTranspose2d(128, 64, 4, 2, 1),
        nn.ConvTranspose2d(64, 64, 3, 1, 1),
        nn.InstanceNorm2d(64),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 3, 1, 1),
        nn.InstanceNorm2d(32),
        nn.ReLU(),
        nn.ConvTranspose2d(32, 3, 3, 1, 1),
    )


class ReleasedDvae(nn.Module):
    """All outputs of every pass: logits, reconstruction, perturbation, mu, logvar."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.rest = trunk(), rest()
        self.mu, self.logvar, self.z = nn.Conv2d(128, 256, 1), nn.Conv2d(128, 256, 1), nn.Conv2d(256, 128, 1)
        self.image_decoder, self.perturbation_decoder = decoder(), decoder()
        self.embedding = nn.Embedding(10, 128 * 16 * 16)

    def forward(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        h = self.trunk(x + 0.0 * torch.randn_like(x))
        logits = self.rest(h)
        mu, logvar = self.mu(h), self.logvar(h)
        z = self.z(mu + torch.exp(logvar / 2) * torch.randn_like(mu))
        reconstruction = torch.sigmoid(self.image_decoder(z))
        template = self.embedding(labels).view(-1, 128, 16, 16)
        return logits, reconstruction, self.perturbation_decoder(template + z), mu, logvar


class ReleasedStep:
    """One optimizer step after another, with everything that is logged."""

    def __init__(self, device: torch.device) -> None:
        self.network = ReleasedDvae().to(device)
        self.classifier = nn.Sequential(trunk(), rest()).to(device).eval()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=5e-3)
        self.log: dict[str, float] = {}

    def __call__(self, images: Tensor, labels: Tensor, cap: float = 1.0) -> None:
        self.network.train()
        _, reconstruction, perturbation, mu, logvar = self.network(images, labels)
        mixture = (reconstruction + perturbation).clamp(0, 1)
        kld = (-0.5 * (1 + logvar - mu.pow(2) - logvar.exp())).sum(1).mean()
        terms = {
            "reconstruction": functional.mse_loss(reconstruction, images),
            "mixture": functional.mse_loss(mixture, images),
            "kld": kld,
            "amplitude": functional.mse_loss(perturbation, torch.zeros_like(perturbation)),
        }
        loss = terms["reconstruction"] + terms["mixture"] + 0.01 * kld.clamp(min=cap)
        loss = loss + terms["amplitude"].clamp(min=0.002)
        for name, seen in (("input", images), ("output", reconstruction), ("subtracted", images - perturbation)):
            terms[f"cross entropy of {name}"] = functional.cross_entropy(self.classifier(seen), labels)
        uniform = torch.full((len(images), 10), 0.1, device=images.device)
        terms["distance to uniform"] = functional.kl_div(
            functional.log_softmax(self.classifier(mixture), dim=1), uniform, reduction="batchmean"
        )
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        self.log = {name: term.item() for name, term in {**terms, "loss": loss}.items()}


def released_purify(
    stage1: ReleasedDvae, stage2: ReleasedDvae, images_u8: Tensor, labels: Tensor, device: torch.device
) -> np.ndarray:
    """The three passes over a set: subtract; subtract again; reconstruct. uint8 (N, H, W, C)."""
    stage1.eval()
    stage2.eval()
    given = images_u8.permute(0, 2, 3, 1).numpy()
    subtracted, doubly, out = np.empty_like(given), np.empty(given.shape, np.float32), np.empty_like(given)

    def batches(array: np.ndarray):
        for start in range(0, len(array), 128):
            rows = range(start, min(start + 128, len(array)))
            scaled = torch.from_numpy(array[start : rows.stop]).permute(0, 3, 1, 2).contiguous().float()
            yield rows, (scaled / 255 if array.dtype == np.uint8 else scaled).to(device), labels[rows.start : rows.stop]

    for rows, images, classes in batches(given):
        estimate = stage1(images, classes.to(device))[2]
        for image, row in zip((images - estimate).clamp(0, 1), rows, strict=True):
            subtracted[row] = (255 * image.detach().cpu().permute(1, 2, 0).numpy()).astype(np.uint8)
    for rows, images, classes in batches(subtracted):
        estimate = stage2(images, classes.to(device))[2]
        for image, row in zip((images - estimate).clamp(0, 1), rows, strict=True):
            doubly[row] = image.detach().cpu().permute(1, 2, 0).numpy()
    for rows, images, classes in batches(doubly):
        reconstruction = stage2(images, classes.to(device))[1]
        for image, row in zip(reconstruction, rows, strict=True):
            out[row] = (255 * image.detach().cpu().permute(1, 2, 0).numpy()).astype(np.uint8)
    return out
