"""The networks of D-VAE: sizes of the published ones, shapes, and what each output depends on."""

import pytest
import torch
from torch import nn

from defenses.dvae.architecture import ARCHITECTURES, choose
from defenses.dvae.losses import disentangling_terms
from defenses.dvae.network import Autoencoder, DisentanglingVae, InstanceNorm, Vae

CIFAR, TINY, IMAGENET = (ARCHITECTURES[name] for name in ("cifar", "tiny", "imagenet"))


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def make(architecture=TINY, image=(3, 32, 32), num_classes=4, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = DisentanglingVae(architecture, image, num_classes, **options)
        nn.init.normal_(network.perturbation_decoder.last.weight, std=0.1)  # zero at the start in `tiny`
    return network.eval()


def images(count=6, shape=(3, 32, 32)):
    return torch.rand((count, *shape), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("num_classes", "embedding", "expected"),
    [(10, "spatial", 1_181_382), (10, "vector", 854_982), (100, "spatial", 4_130_502), (100, "vector", 866_502)],
)
def test_cifar_network_has_the_parameters_the_released_one_uses(num_classes, embedding, expected):
    network = DisentanglingVae(CIFAR, (3, 32, 32), num_classes, embedding=embedding)
    assert parameters(network) == expected


def test_parts_of_the_cifar_network():
    network = DisentanglingVae(CIFAR, (3, 32, 32), 10)
    vae = network.vae
    assert parameters(vae.encoder) == 379_968
    assert parameters(vae.code) == 98_944
    assert parameters(vae.decoder) + parameters(network.perturbation_decoder) == 374_790
    assert parameters(vae) == 666_307


def test_parts_of_the_imagenet_network():
    network = DisentanglingVae(IMAGENET, (3, 224, 224), 100)
    assert IMAGENET.code_shape((3, 224, 224)) == (512, 28, 28)
    assert parameters(network.vae.encoder) == 6_448_192
    assert parameters(network.vae.code) == 394_240
    assert parameters(network.vae.decoder) == parameters(network.perturbation_decoder) == 2_543_587
    assert parameters(network.embedding) == 51_200


def test_autoencoder_is_one_block_deeper():
    assert parameters(Autoencoder(CIFAR, (3, 32, 32))) == 862_787
    assert parameters(Autoencoder(CIFAR, (3, 32, 32), width=8)) == 862_787 + (128 * 8 + 8) + (8 * 128 + 128)


def test_imagenet_network_takes_an_image_of_224_pixels():
    network = make(IMAGENET, (3, 224, 224), 100)
    with torch.no_grad():
        out = network(images(1, (3, 224, 224)), torch.tensor([99]))
    assert out.reconstruction.shape == out.perturbation.shape == (1, 3, 224, 224)
    assert out.mu.shape == (1, 256, 28, 28)


@pytest.mark.parametrize("shape", [(3, 32, 48), (1, 28, 28), (3, 20, 16)])
@pytest.mark.parametrize("embedding", ["spatial", "vector"])
@pytest.mark.parametrize("embed_into", ["z", "h"])
def test_other_image_sizes(shape, embedding, embed_into):
    network = make(TINY, shape, 3, embedding=embedding, embed_into=embed_into)
    out = network(images(3, shape), torch.tensor([0, 1, 2]))
    assert out.reconstruction.shape == out.perturbation.shape == (3, *shape)
    assert 0 <= out.reconstruction.min() <= out.reconstruction.max() <= 1


@pytest.mark.parametrize(("network", "image"), [("cifar", (3, 33, 32)), ("imagenet", (3, 224, 100))])
def test_sides_that_do_not_divide_are_an_error(network, image):
    with pytest.raises(ValueError, match=f"divisible by {ARCHITECTURES[network].stride}, got {image[1]}x{image[2]}"):
        choose(network, image)


@pytest.mark.parametrize(("side", "expected"), [(32, "cifar"), (64, "cifar"), (96, "imagenet"), (224, "imagenet")])
def test_auto_chooses_by_size(side, expected):
    assert choose("auto", (3, side, side))[0] == expected


@pytest.mark.parametrize("embed_into", ["z", "h"])
@pytest.mark.parametrize("embedding", ["spatial", "vector"])
def test_perturbation_depends_on_the_class_and_reconstruction_does_not(embedding, embed_into):
    network = make(embedding=embedding, embed_into=embed_into)
    x, y = images(), torch.tensor([0, 1, 2, 3, 0, 1])
    with torch.no_grad():
        torch.manual_seed(3)
        one = network(x, y)
        torch.manual_seed(3)
        other = network(x, (y + 1) % 4)
    assert torch.equal(one.reconstruction, other.reconstruction)
    assert (one.perturbation - other.perturbation).abs().amax(dim=(1, 2, 3)).min() > 1e-3


def test_class_wise_perturbation_does_not_depend_on_the_image():
    network = make(class_wise=True)
    with torch.no_grad():
        perturbation = network.estimate(images(), torch.tensor([0, 0, 0, 1, 1, 1]))
    assert torch.equal(perturbation[:3], perturbation[:1].expand(3, -1, -1, -1))
    assert not torch.equal(perturbation[0], perturbation[3])


def test_features_bypass_the_bottleneck_only_where_asked():
    x, y = images(), torch.zeros(6, dtype=torch.int64)
    for embed_into, noisy in (("z", True), ("h", False)):
        network = make(embed_into=embed_into)
        with torch.no_grad():
            one, other = network.estimate(x, y), network.estimate(x, y)
        assert torch.equal(one, other) != noisy


def test_mean_code_is_not_random():
    network = make()
    x, y = images(), torch.zeros(6, dtype=torch.int64)
    with torch.no_grad():
        assert torch.equal(network.estimate(x, y, sample=False), network.estimate(x, y, sample=False))
        assert torch.equal(network.reconstruct(x, sample=False), network.reconstruct(x, sample=False))
        assert not torch.equal(network.reconstruct(x), network.reconstruct(x))


def test_training_and_purification_see_the_same_outputs():
    network = make()
    x, y = images(), torch.tensor([0, 1, 2, 3, 0, 1])
    with torch.no_grad():
        torch.manual_seed(5)
        out = network(x, y)
        torch.manual_seed(5)
        estimate = network.estimate(x, y)
        torch.manual_seed(5)
        reconstruction = network.reconstruct(x)
    torch.testing.assert_close(out.perturbation, estimate)
    torch.testing.assert_close(out.reconstruction, reconstruction)


def test_every_parameter_is_alive():
    x, y = images(), torch.tensor([0, 1, 2, 3, 0, 1])
    network = make()
    out = network.train()(x, y)
    (out.reconstruction.sum() + out.perturbation.square().sum() + out.mu.sum() + out.logvar.sum()).backward()
    assert all(p.grad is not None for p in network.parameters())


def test_tiny_starts_without_a_perturbation():
    network = DisentanglingVae(TINY, (3, 32, 32), 4)
    assert not network.estimate(images(), torch.zeros(6, dtype=torch.int64)).any()


def test_low_precision_ends_before_the_outputs():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = make()(images(), torch.zeros(6, dtype=torch.int64))
    assert {value.dtype for value in out} == {torch.float32}
    assert Vae(TINY, (3, 32, 32)).eval()(images()).dtype == torch.float32


def test_instance_norm_and_its_gradient_equal_torchs():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 5, 6, 4, generator=generator, dtype=torch.float64)
    features = features.contiguous(memory_format=torch.channels_last).requires_grad_()
    weights = torch.randn(features.shape, generator=generator, dtype=torch.float64)
    results = []
    for norm in (InstanceNorm(), torch.nn.InstanceNorm2d(5)):
        normed = norm(features)
        (gradient,) = torch.autograd.grad((normed * weights).sum(), features)
        results.append((normed.detach(), gradient))
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-12)


def test_sampling_and_last_layers_compute_in_float32_beside_bfloat16_convolutions():
    network, seen = make(), {}
    watched = {
        "image": network.vae.decoder.last,
        "perturbation": network.perturbation_decoder.last,
        "widen": network.vae.code.widen,
        "stem": network.vae.encoder[0],
    }
    for name, layer in watched.items():
        layer.register_forward_hook(lambda _, given, out, name=name: seen.update({name: (given[0].dtype, out.dtype)}))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = network(images(), torch.zeros(6, dtype=torch.int64))
        terms = disentangling_terms(out, images(), cap=1.0, amplitude=True)
    assert seen["stem"][1] == torch.bfloat16, "otherwise this test says nothing"
    assert seen["image"] == seen["perturbation"] == (torch.float32, torch.float32)
    assert seen["widen"][0] == torch.float32, "the sampled code"
    assert {value.dtype for value in terms.values()} == {torch.float32}
    finer = out.perturbation != out.perturbation.bfloat16().float()
    assert finer.float().mean() > 0.9, "a subtraction in bfloat16 would move a fifth of the pixels by a level"


def test_instance_norm_of_bfloat16_features_has_float32_statistics():
    """Far from zero, statistics in bfloat16 would be off by more than the features vary."""
    features = (100 + torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))).bfloat16()
    expected = torch.nn.functional.instance_norm(features.float())
    normed = InstanceNorm()(features.contiguous(memory_format=torch.channels_last))
    assert normed.dtype == torch.bfloat16
    torch.testing.assert_close(normed.float(), expected, rtol=2**-8, atol=1e-6)
