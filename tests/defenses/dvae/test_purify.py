"""D-VAE as a purifier: what it promises about its output, and that it removes a class-wise poison."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.api import Context
from bench.datasets import loading
from bench.measure.diagnosis import class_mean_cosine, psnr_db, residual_poison_ratio
from bench.registry import defenses
from bench.select.spec import select
from bench.training import to_uint8
from defenses.dvae import Dvae
from defenses.dvae.architecture import ARCHITECTURES
from defenses.dvae.network import DisentanglingVae
from defenses.dvae.training import rewrite_images

QUICK = Dvae(network="tiny", epochs=1, batch_size=8, lr=1e-2, embedding_lr_scale=100.0)


def context(scratch: Path, seed: int = 0) -> Context:
    return Context(seed, torch.device("cpu"), scratch, "dvae")


@pytest.fixture(scope="module")
def poisoned():
    """Two classes of outlines, each with one pattern of +-16 levels, and the clean images."""
    clean = loading.load("shapes:train=800:test=10:size=16", Path()).train
    clean = clean.take((clean.labels < 2).nonzero().flatten())
    clean = replace(clean, info=replace(clean.info, num_classes=2))
    signs = torch.randint(0, 2, (2, *clean.info.shape), generator=torch.Generator().manual_seed(0)) * 2 - 1
    images = (clean.images.int() + 16 * signs[clean.labels]).clamp(0, 255).to(torch.uint8)
    return replace(clean, images=images), clean


@pytest.fixture(scope="module")
def purified(poisoned, tmp_path_factory):
    ctx = context(tmp_path_factory.mktemp("scratch"))
    before = poisoned[0].images.clone()
    result = replace(QUICK, epochs=10).purify(poisoned[0], ctx)
    assert torch.equal(poisoned[0].images, before), "purify must not modify its input"
    return result, ctx


def test_output_is_a_data_set_of_the_same_kind(purified, poisoned):
    result, train = purified[0], poisoned[0]
    assert result.images.dtype == torch.uint8
    assert result.images.shape == train.images.shape
    assert result.labels is train.labels
    assert result.info == train.info


def test_poison_is_removed_and_the_picture_kept(purified, poisoned):
    (result, _), (train, clean) = purified, poisoned
    assert residual_poison_ratio(result.images, train.images, clean.images, train.labels) < 0.5
    assert psnr_db(result.images, clean.images) > 20
    nearest = torch.cdist(result.images.flatten(1).float(), clean.images.flatten(1).float()).argmin(dim=1)
    assert (nearest == torch.arange(len(clean))).float().mean() > 0.9, "images are no longer in their order"


def test_estimate_resembles_the_poison(purified, poisoned):
    (_, ctx), (train, clean) = purified, poisoned
    estimate = ctx.kept["perturbation"]
    assert estimate.dtype == torch.float16
    assert estimate.shape == train.images.shape
    assert ctx.logs["perturbation_kept"] is True
    assert class_mean_cosine(estimate, train.images, clean.images, train.labels) > 0.5


def test_second_stage_spends_a_higher_rate(purified):
    logs = purified[1].logs
    assert 0 < logs["stage1_kld"] < logs["stage2_kld"]
    assert logs["stage1_reconstruction_psnr_db"] < logs["stage2_reconstruction_psnr_db"]
    assert 0 < logs["stage1_perturbation_rms_levels"] < 255
    assert logs["network"] == "tiny"


def test_first_stage_subtracts_what_it_keeps(tiny, make_context):
    ctx = make_context()
    result = replace(QUICK, stages=1).purify(tiny.train, ctx)
    expected = to_uint8(tiny.train.images.float() / 255 - ctx.kept["perturbation"].float())
    assert (result.images.int() - expected.int()).abs().max() <= 1  # float16 may fall on the other side of a half
    assert (result.images == expected).float().mean() > 0.98
    assert not [name for name in ctx.logs if name.startswith("stage2")]


def test_second_stage_replaces_the_image_by_its_reconstruction(random_set, make_context):
    train = random_set(count=16)
    only_subtracted = replace(QUICK, stages=1).purify(train, make_context())
    result = QUICK.purify(train, make_context())
    assert psnr_db(result.images, only_subtracted.images) < 15  # noise has no cheap code
    assert psnr_db(only_subtracted.images, train.images) > 15


def test_same_seed_same_images_whatever_was_drawn_before(random_set, make_context):
    train = random_set()
    torch.manual_seed(1)
    once = QUICK.purify(train, make_context(seed=3))
    torch.manual_seed(2)
    again = QUICK.purify(train, make_context(seed=3))
    other = QUICK.purify(train, make_context(seed=4))
    assert torch.equal(once.images, again.images)
    assert not torch.equal(once.images, other.images)


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = DisentanglingVae(ARCHITECTURES["tiny"], (3, 8, 8), 4)
        torch.nn.init.normal_(network.perturbation_decoder.last.weight, std=0.1)
        network(torch.rand(64, 3, 8, 8), torch.arange(64) % 4)  # moves the running statistics
    return network.eval()


def subtract(network, sample, seen=None):
    def transform(images_01, labels, rows):
        output = images_01 - network.estimate(images_01, labels, sample)
        if seen is not None:
            seen.append(output)
        return output

    return transform


def test_mean_codes_do_not_depend_on_the_seed(network, random_set, make_context):
    for sample in (False, True):
        one, two = (
            rewrite_images(random_set(), subtract(network, sample), make_context(seed)).images for seed in (0, 1)
        )
        assert torch.equal(one, two) != sample


@pytest.mark.parametrize("chunk", [1, 7])
def test_chunks_do_not_change_the_result(network, random_set, make_context, chunk):
    train = random_set(count=40)
    whole = rewrite_images(train, subtract(network, False), make_context(), chunk=40).images
    parts = rewrite_images(train, subtract(network, False), make_context(), chunk=chunk).images
    assert (whole.int() - parts.int()).abs().max() <= 1  # kernels may differ in the last bit of a half
    assert (whole == parts).float().mean() > 0.999


def test_no_gradient_graph_is_kept(network, random_set, make_context):
    seen = []
    rewrite_images(random_set(), subtract(network, True, seen), make_context())
    assert not seen[0].requires_grad


def test_network_purifies_in_eval_mode(random_set, make_context, monkeypatch):
    modes = []
    original = DisentanglingVae.estimate
    monkeypatch.setattr(
        DisentanglingVae, "estimate", lambda self, *a: modes.append(self.training) or original(self, *a)
    )
    QUICK.purify(random_set(), make_context())
    assert modes == [False, False]


def test_floor_is_darker_by_half_a_level(random_set, make_context):
    train = random_set()
    nearest, floor = (
        replace(QUICK, stages=1, rounding=rounding).purify(train, make_context()).images.float().mean()
        for rounding in ("nearest", "floor")
    )
    assert nearest - floor == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    "options",
    [
        {"embedding": "vector"},
        {"embed_into": "h"},
        {"perturbation": "class"},
        {"latents": "mean"},
        {"decoder_norm": "instance"},
        {"embedding": "vector", "embed_into": "h", "perturbation": "class"},
        {"stage1_cap": 0.5},
        {"batch_size": 1000},
    ],
)
def test_variants_run(options, random_set, make_context):
    train = random_set(count=17, classes=3, shape=(1, 8, 12))
    result = replace(QUICK, **options).purify(train, make_context())
    assert result.images.shape == train.images.shape


def test_class_wise_estimate_is_one_pattern_a_class(random_set, make_context):
    train, ctx = random_set(), make_context()
    replace(QUICK, perturbation="class").purify(train, ctx)
    estimate = ctx.kept["perturbation"]
    for label in range(4):
        here = estimate[train.labels == label]
        assert (here - here[0]).abs().max() < 1e-3


def test_full_size_network_runs(random_set, make_context):
    ctx = make_context()
    Dvae(epochs=1, batch_size=4).purify(random_set(count=8, shape=(3, 16, 16)), ctx)
    assert ctx.logs["network"] == "cifar"


def test_large_estimate_is_not_kept(random_set, make_context):
    ctx = make_context()
    ctx.resident_bytes = 1000
    QUICK.purify(random_set(), ctx)
    assert ctx.logs["perturbation_kept"] is False
    assert "perturbation" not in ctx.kept


def test_registered_with_the_settings_of_the_released_scripts():
    dvae = select(defenses, "dvae")[0]
    expected = {"stage1_cap": 1.0, "stage2_cap": 3.0, "epochs": 60, "batch_size": 128, "lr": 5e-3, "latents": "sample"}
    assert {name: dvae.parameters[name] for name in expected} == expected
    assert (dvae.component.embedding, dvae.component.embed_into, dvae.component.perturbation) == ("auto", "z", "sample")
    recipe = dvae.component._recipe
    assert (recipe.optimizer, recipe.schedule, recipe.clip_grad_norm, recipe.drop_last) == (
        "adam",
        "cosine-epoch",
        5.0,
        True,
    )
    assert (recipe.weight_decay, recipe.crop_padding, recipe.flip) == (0.0, 0, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": 3}, "stages must be 1 or 2"),
        ({"stage2_cap": -1.0}, "caps must be"),
        ({"warmup_epochs": -1}, "warmup_epochs must be >= 0"),
        ({"embedding_lr_scale": 0.0}, "embedding_lr_scale"),
        ({"epochs": 0}, "epochs"),
        ({"lr": float("nan")}, "lr"),
    ],
)
def test_bad_parameters_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Dvae(**options)


def test_images_the_network_cannot_halve_are_an_error(random_set, make_context):
    with pytest.raises(ValueError, match="divisible by 2, got 9x8"):
        QUICK.purify(random_set(shape=(3, 9, 8)), make_context())


def test_the_network_for_large_images_purifies_squeezed_ones(tmp_path):
    train = loading.load("shapes:train=4:test=10:size=64", Path()).train
    train = replace(train, aspect_ratios=torch.tensor([1.0, 1.5, 0.5, 2.0]))
    ctx = context(tmp_path)
    purified = Dvae(network="imagenet", epochs=1, batch_size=4, warmup_epochs=0).purify(train, ctx)
    assert purified.images.shape == train.images.shape
    assert torch.equal(purified.aspect_ratios, train.aspect_ratios)
    assert ctx.logs["network"] == "imagenet"
    assert 0 < ctx.logs["stage1_kld"] < 200
    assert 0 < ctx.logs["stage2_kld"] < 200
