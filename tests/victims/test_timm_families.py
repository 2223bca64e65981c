"""Networks of many timm families at small image sizes: what they become, what they learn from, what is refused."""

from pathlib import Path

import pytest
import torch

from bench.api import DataInfo
from bench.check.component import check_component
from victims.fixed_size import build_fitted
from victims.survey import attempt
from victims.timm_victims import TimmVictim


def build(name, shape=(3, 32, 32)):
    return TimmVictim(model=name).build(DataInfo("x", 10, shape))


@pytest.mark.parametrize(
    "name",
    [
        "convit_tiny",
        "efficientvit_m0",
        "gmlp_ti16_224",
        "levit_128s",
        "mobilevit_xxs",
        "naflexvit_base_patch16_parfac_gap",
        "pit_ti_224",
        "pvt_v2_b0",
        "swiftformer_xs",
        "test_byobnet",
        "test_coatnet",
        "test_vit_relpos",
        "visformer_tiny",
        "vit_tiny_r_s16_p8_224",
        "xcit_nano_12_p8_224",
    ],
)
def test_every_parameter_gets_a_gradient_from_images_of_32_pixels(name):
    attempt(name, 32)


@pytest.mark.parametrize(
    "name",
    [
        "mvitv2_tiny",
        "hiera_tiny_224",
        "nest_tiny",
        "swinv2_tiny_window8_256",
        "tnt_s_legacy_patch16_224",
        "volo_d1_224",
    ],
)
def test_larger_networks_are_fitted_to_32_pixels(name):
    """Shapes alone: on the meta device."""
    with torch.device("meta"):
        model = build_fitted(name, (3, 32, 32), {"num_classes": 10})
        assert model.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("side", "patch", "window", "last"), [(32, 1, 4, 4), (64, 2, 4, 4), (96, 2, 6, 6), (128, 4, 4, 4), (224, 4, 7, 7)]
)
def test_swin_keeps_the_ratio_of_its_window_to_the_last_feature_map(side, patch, window, last):
    with torch.device("meta"):
        model = build_fitted("swin_tiny_patch4_window7_224", (3, side, side), {"num_classes": 10}).eval()
        features = model.forward_features(torch.zeros(1, 3, side, side))
    assert model.patch_embed.patch_size == (patch, patch)
    assert model.layers[0].blocks[0].window_size == (window, window)
    assert features.shape[1:3] == (last, last)


@pytest.mark.parametrize(("name", "patch"), [("vit_tiny_patch16_224", 4), ("volo_d1_224", 4), ("nest_tiny", 2)])
def test_patches_at_32_pixels(name, patch):
    with torch.device("meta"):
        model = build_fitted(name, (3, 32, 32), {"num_classes": 10})
    convolutions = [m for m in model.patch_embed.modules() if isinstance(m, torch.nn.Conv2d)]
    assert torch.tensor([m.stride[0] for m in convolutions]).prod() == patch


def test_a_network_without_patches_is_built_larger_and_loses_stride_in_its_first_layers():
    """LeViT halves the resolution six times; three of its four first convolutions keep it at 32 pixels."""
    model = build("levit_128s").eval()
    strides = [module.stride[0] for module in model.stem.modules() if isinstance(module, torch.nn.Conv2d)]
    assert strides == [1, 1, 1, 2]
    assert model.stages[0].blocks[0].attn.attention_bias_idxs.shape == (16 * 16, 16 * 16)


def test_a_larger_stride_next_to_the_path_stays():
    """PVT's attention makes keys and values from maps 8, 4 and 2 times smaller."""
    model = build("pvt_v2_b0").eval()
    assert [stage.blocks[0].attn.sr.stride[0] for stage in list(model.stages)[:3]] == [8, 4, 2]
    assert model.forward_features(torch.zeros(1, 3, 32, 32)).shape[-2:] == (4, 4)


def test_images_that_are_not_square():
    assert build("swin_tiny_patch4_window7_224", (1, 32, 48)).patch_embed.grid_size == (32, 48)


def test_the_search_for_a_way_draws_no_random_number(monkeypatch):
    """The weights of a seed are those of the network built at once, also if a constructor draws on the CPU."""
    import timm

    create = timm.create_model

    def draws_first(*args, **kwargs):
        if torch.get_default_device().type == "meta":
            torch.rand(3, device="cpu")
        return create(*args, **kwargs)

    monkeypatch.setattr(timm, "create_model", draws_first)
    torch.manual_seed(3)
    fitted = build_fitted("test_vit", (3, 32, 32), {"num_classes": 10})
    torch.manual_seed(3)
    direct = timm.create_model("test_vit", img_size=32, patch_size=4, num_classes=10)
    assert all(torch.equal(one, two) for one, two in zip(fitted.parameters(), direct.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("crossvit_tiny_240", 240),
        ("efficientformer_l1", 224),
        ("halonet_h1", 256),
        ("inception_v4", 299),
        ("csatv2", 512),
    ],
)
def test_a_network_that_cannot_be_fitted_is_refused_with_its_size_and_the_remedy(name, own):
    with pytest.raises(ValueError, match=rf"^{name} cannot take 32x32 images .*made for {own} pixels; choose another"):
        build(name)


def test_an_assertion_without_words_is_shown_as_its_line():
    with pytest.raises(ValueError, match=r"\(AssertionError: _assert\(H % self.block_size == 0"):
        build("halonet_h1")


@pytest.mark.parametrize(
    ("name", "words"),
    [("pit_ti_224", "yes | yes | yes"), ("csatv2", "no | yes | yes"), ("halonet_h1", "no | no | no")],
)
def test_the_documented_table_is_what_happens(name, words):
    page = (Path(__file__).parents[2] / "docs" / "victims.md").read_text(encoding="utf-8")
    line = next(line for line in page.splitlines() if f"| `{name}` |" in line)
    assert words in line
    if words.startswith("yes"):
        assert f"| {sum(p.numel() for p in build(name).parameters()):,} |" in line
    for side, word in zip((32, 64), words.split(" | "), strict=False):
        if word == "no":
            with pytest.raises(ValueError, match="cannot take"):
                build(name, (3, side, side))
        else:
            build(name, (3, side, side))


@pytest.mark.parametrize("error", [IndexError("list index"), AssertionError(), TypeError("x"), KeyError("y")])
def test_whatever_timm_raises_is_refused_with_the_same_sentence(monkeypatch, error):
    import timm

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(timm.models.resnet.ResNet, "forward", fail)
    with pytest.raises(
        ValueError, match=rf"^resnet18 cannot take 48x32 images of 3 channels \({type(error).__name__}: .+"
    ):
        build("resnet18", (3, 32, 48))


def test_a_list_of_logits_is_refused(monkeypatch):
    import timm

    monkeypatch.setattr(timm.models.resnet.ResNet, "forward", lambda self, x: [x])
    with pytest.raises(ValueError, match=r"resnet18 cannot take .*it returns list for one image, expected \(1, 10\)"):
        build("resnet18", (3, 224, 224))


def test_a_fitted_network_keeps_the_contracts(capsys):
    assert check_component("pit_ti_224", (), "victims") == 0, capsys.readouterr().out
