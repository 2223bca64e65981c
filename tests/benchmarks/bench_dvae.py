"""D-VAE without dead work, against the same with the released code's dead branches, logging and copies."""

from torch import Tensor

from bench.api import Context, ImageSet
from bench.datasets import loading
from bench.training import Stepper, autocast, build, to_float
from defenses.dvae.architecture import ARCHITECTURES
from defenses.dvae.losses import disentangling_terms
from defenses.dvae.network import DisentanglingVae
from defenses.dvae.training import purifier_recipe, rewrite_images

from .ratio import Run
from .released_dvae import ReleasedDvae, ReleasedStep, released_purify


def _network(run: Run) -> DisentanglingVae:
    context = Context(0, run.device, run.folder)
    return build(lambda: DisentanglingVae(ARCHITECTURES["cifar"], (3, 32, 32), 10), context)


def _images(run: Run, count: int) -> ImageSet:
    return loading.load(f"shapes:train={count}:test=10", run.folder).train


def bench_dvae_step(run: Run) -> None:
    """D-VAE training step; plain: with the released code's dead branches and logging."""
    count = run.size(full=32, tiny=2)
    train = _images(run, count)
    images, labels = to_float(train.images.to(run.device)), train.labels.to(run.device)
    network = _network(run).train()
    stepper = Stepper([{"params": list(network.parameters())}], purifier_recipe(60, count, 5e-3), 1)

    def ours() -> None:
        with autocast(run.device):
            loss = disentangling_terms(network(images, labels), images, 1.0, amplitude=True)["loss"]
        stepper.step(loss)

    released = ReleasedStep(run.device)
    contiguous = images.contiguous()
    run.ratio(ours, lambda: released(contiguous, labels), at_least=3, count=count)


def bench_dvae_purification(run: Run) -> None:
    """D-VAE purification, both stages; plain: as released, image by image to the host."""
    train = _images(run, run.size(full=128, tiny=3))
    first, second = _network(run).eval(), _network(run).eval()
    context = Context(0, run.device, run.folder)

    def subtract(images_01: Tensor, labels: Tensor, rows: slice) -> Tensor:
        return images_01 - first.estimate(images_01, labels)

    def rebuild(images_01: Tensor, labels: Tensor, rows: slice) -> Tensor:
        return second.reconstruct((images_01 - second.estimate(images_01, labels)).clamp(0, 1))

    def ours() -> None:
        rewrite_images(rewrite_images(train, subtract, context), rebuild, context)

    stages = ReleasedDvae().to(run.device), ReleasedDvae().to(run.device)
    run.ratio(
        ours, lambda: released_purify(*stages, train.images, train.labels, run.device), at_least=3, count=len(train)
    )
