"""Victims: the papers' parameter counts, the stem rule, recipes."""

from pathlib import Path

import pytest
import torch

from bench.api import DataInfo
from bench.errors import UserError
from bench.registry import victims
from bench.select.spec import select
from victims.recipes import PRESETS, TUNED, recipe_for

CIFAR = DataInfo("cifar10", 10, (3, 32, 32))


def build(text, info=CIFAR):
    return select(victims, text)[0].component.build(info)


def test_resnet18_at_32_pixels_is_the_papers_network():
    model = build("resnet18")
    assert sum(p.numel() for p in model.parameters()) == 11_173_962
    assert sum(p.numel() for p in build("resnet18", DataInfo("c100", 100, (3, 32, 32))).parameters()) == 11_220_132
    assert model.conv1.kernel_size == (3, 3)
    assert model.conv1.stride == (1, 1)
    assert isinstance(model.maxpool, torch.nn.Identity)
    assert all(torch.equal(block.bn2.weight, torch.ones_like(block.bn2.weight)) for block in model.layer4)


def test_large_images_and_stem_imagenet_keep_the_original():
    large = DataInfo("imagenet-100", 100, (3, 224, 224))
    assert sum(p.numel() for p in build("resnet18", large).parameters()) == 11_227_812
    assert build("resnet18:stem=imagenet").conv1.kernel_size == (7, 7)


@pytest.mark.parametrize(
    ("name", "side", "final"),
    [
        ("resnet18", 32, 4),
        ("resnet50", 32, 4),
        ("densenet121", 32, 4),
        ("mobilenetv2_100", 32, 4),
        ("convnext_atto", 32, 4),
        ("resnet18", 64, 4),
        ("resnet18", 96, 6),
        ("resnet18", 224, 7),
    ],
)
def test_the_last_feature_map_follows_the_rule(name, side, final):
    model = build(name, DataInfo("x", 10, (3, side, side))).eval()
    with torch.no_grad():
        features = model.forward_features(torch.zeros(1, 3, side, side))
    assert features.shape[-2:] == (final, final)


def test_a_vision_transformer_gets_small_patches():
    model = build("vit_tiny_patch16_224")
    assert model.patch_embed.patch_size == (4, 4)
    assert model.patch_embed.num_patches == 64


@pytest.mark.parametrize(
    ("name", "ours", "released"),
    [
        ("resnet50", 23_520_842, 23_520_842),
        ("densenet121", 6_956_426, 6_956_298 + 2 * 64),
        ("mobilenetv2_100", 2_236_682, 2_236_682),
        ("vit_base_patch16_224", 85_152_010, 85_806_346 - 768 * (3 * (16**2 - 4**2) + (197 - 65))),
    ],
)
def test_differences_from_the_released_networks_are_those_of_the_documentation(name, ours, released):
    """yuyi-sd/D-VAE: models, configs/models; its torchvision networks."""
    assert sum(p.numel() for p in build(name).parameters()) == ours == released
    page = (Path(__file__).parents[2] / "docs" / "victims.md").read_text(encoding="utf-8")
    assert f"| `{name}` | {ours:,}, " in page


@pytest.mark.parametrize(
    ("name", "expected"), [("resnet18", 11_227_812), ("resnet50", 23_712_932), ("densenet121", 7_056_356)]
)
def test_networks_at_224_pixels_have_torchvisions_parameters(name, expected):
    import torchvision

    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)(num_classes=100)
    ours = build(name, DataInfo("imagenet100", 100, (3, 224, 224)))
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters()) == expected


def test_vgg19_at_32_pixels_is_the_released_network():
    """torchvision's, which has no other strides there: the same logits from the same weights."""
    import torchvision

    with torch.device("meta"):
        theirs = torchvision.models.vgg19(num_classes=10)
    ours = build("vgg19:dropout=0.5").eval()
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters()) == 139_611_210
    weights = list(ours.state_dict().values())
    theirs.load_state_dict(
        {name: w.view(p.shape) for (name, p), w in zip(theirs.state_dict().items(), weights, strict=True)}, assign=True
    )
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs.eval()(images))
    assert float(ours.pre_logits.fc1.weight.detach().std()) == pytest.approx(0.01, rel=0.01)
    drops = [module.p for module in ours.modules() if isinstance(module, torch.nn.Dropout)]
    assert drops == [module.p for module in theirs.modules() if isinstance(module, torch.nn.Dropout)] == [0.5, 0.5]


def test_initialisation():
    """Spread of the weights where PyTorch's default and the networks' own schemes differ, and zeroed norms."""

    def weights(text, layer):
        return build(text).get_submodule(layer).weight.detach()

    fan_in = 512 * 9
    assert weights("resnet18", "layer4.1.conv2").std() == pytest.approx((1 / (3 * fan_in)) ** 0.5, rel=0.01)
    assert weights("resnet18:init=timm", "layer4.1.conv2").std() == pytest.approx((2 / fan_in) ** 0.5, rel=0.01)
    assert weights("resnet18:init=timm", "conv1").std() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.1)
    for init in ("auto", "pytorch", "timm"):
        assert torch.equal(weights(f"resnet18:init={init}", "layer4.1.bn2"), torch.ones(512))
    dense = "features.denseblock4.denselayer16.conv1"
    assert weights("densenet121", dense).std() == pytest.approx((1 / (3 * 992)) ** 0.5, rel=0.02)
    assert weights("densenet121:init=timm", dense).std() == pytest.approx((2 / 992) ** 0.5, rel=0.02)


def test_dropout_is_checked():
    with pytest.raises(UserError, match=r"dropout must be in \[0, 1\), got 1"):
        select(victims, "vgg19:dropout=1")


def test_gray_images_and_other_class_counts():
    logits = build("small-cnn", DataInfo("x", 3, (1, 28, 28)))(torch.rand(2, 1, 28, 28))
    assert logits.shape == (2, 3)


def test_the_papers_recipe():
    recipe = select(victims, "resnet18")[0].component.recipe
    assert (recipe.epochs, recipe.batch_size, recipe.optimizer, recipe.lr) == (60, 128, "sgd", 0.1)
    assert (recipe.momentum, recipe.nesterov, recipe.weight_decay) == (0.9, False, 5e-4)
    assert (recipe.schedule, recipe.crop_padding, recipe.flip) == ("cosine-epoch", 4, True)
    assert (recipe.clip_grad_norm, recipe.drop_last) == (5.0, True)


@pytest.mark.parametrize("model", list(TUNED))
def test_every_tuned_model_has_every_preset(model):
    for preset in PRESETS:
        assert recipe_for(model, preset).epochs >= 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("resnet18:preset=paper-100", ("sgd", 0.1, 5e-4, 100)),
        ("resnet18:preset=paper-30", ("sgd", 0.1, 5e-4, 30)),
        ("vit_tiny_patch16_224:preset=paper-100", ("adamw", 5e-4, 0.03, 200)),
        ("vit_tiny_patch16_224:preset=paper-30", ("adamw", 5e-4, 0.03, 200)),
        ("volo_d1_224", ("adamw", 5e-4, 0.03, 200)),
        ("mixer_s32_224", ("adamw", 5e-4, 0.03, 200)),
        ("deit_tiny_patch16_224:optimizer=adamw", ("adamw", 5e-4, 0.03, 200)),
        ("vit_base_patch16_224:optimizer=sgd", ("sgd", 0.1, 5e-4, 60)),
        ("vit_base_patch16_224:optimizer=sgd:preset=paper-100", ("sgd", 0.1, 5e-4, 100)),
        ("small-cnn:optimizer=adamw", ("adamw", 5e-3, 5e-4, 10)),
        ("small-cnn:optimizer=sgd", ("sgd", 0.1, 5e-4, 10)),
    ],
)
def test_lengths_and_optimizers_of_the_stored_recipes(words, expected):
    recipe = select(victims, words)[0].component.recipe
    assert (recipe.optimizer, recipe.lr, recipe.weight_decay, recipe.epochs) == expected


def test_changes_win_over_the_stored_recipe():
    recipe = select(victims, "resnet18:preset=fast:epochs=4:crop_padding=0:lr=1/5")[0].component.recipe
    assert (recipe.epochs, recipe.crop_padding, recipe.lr, recipe.batch_size) == (4, 0, 0.2, 512)


def test_a_random_resized_crop_takes_the_place_of_the_padded_one():
    recipe = select(victims, "resnet18:random_resized_crop=true")[0].component.recipe
    assert (recipe.random_resized_crop, recipe.crop_padding) == (True, 0)
    with pytest.raises(UserError, match="two kinds of random crops"):
        select(victims, "resnet18:random_resized_crop=true:crop_padding=4")
