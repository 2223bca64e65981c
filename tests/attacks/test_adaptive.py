from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from attacks.adaptive import Adaptive
from attacks.em import Em
from attacks.lsp import Lsp
from bench.api import DataInfo, ImageSet
from bench.errors import UserError
from bench.registry import attacks, defenses
from bench.select.identity import identity
from bench.select.spec import select
from bench.stages.crafting import craft
from bench.training.pgd import pgd
from bench.training.surrogates import build_surrogate

FILTERS = ["gaussian-blur", "low-pass", "median", "bilateral"]
THROUGH = ["iss-gray", "iss-jpeg", "jpeg:quality=50", "iss-bdr", "low-pass+iss-gray", *FILTERS]
QUICK = {"em": {"steps": 3, "batch_size": 40, "lr": 0.05, "surrogate": "s-net", "max_rounds": 3}}


def defense(text: str):
    (selected,) = select(defenses, text)
    return selected.component


def images(count: int = 4, channels: int = 3, side: int = 16) -> Tensor:
    smooth = torch.rand(count, channels, 4, 4, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(smooth, size=(side, side), mode="bilinear")


def attack(text: str):
    (selected,) = select(attacks, text, QUICK)
    return selected


@pytest.mark.parametrize("text", THROUGH)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_differentiable_version_is_near_the_defense(text: str, channels: int, make_context) -> None:
    info = DataInfo("x", 4, (channels, 32, 32))
    images_u8 = (images(channels=channels, side=32) * 255).round().byte()
    found = defense(text).differentiable(images_u8 / 255)
    assert found.shape == images_u8.shape
    purified = defense(text).purify(ImageSet(images_u8, torch.zeros(4).long(), info), make_context()).images
    away = (found * 255 - purified.float()).abs()
    assert away.mean() < (3.0 if "jpeg" in text else 0.51)  # levels; saturated colors are the worst case


@pytest.mark.parametrize("text", ["iss-gray", "iss-jpeg", "jpeg:quality=50", *FILTERS])
def test_gradients_are_those_of_finite_differences(text: str) -> None:
    see = defense(text).differentiable
    generator = torch.Generator().manual_seed(1)
    smooth = images(1).double() * 0.8 + 0.1
    noise = torch.rand(smooth.shape, generator=generator, dtype=torch.float64)  # no two pixels are equal: for medians
    start = (smooth + 0.05 * noise).requires_grad_()
    weights = torch.randn(start.shape, generator=generator, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((see(start) * weights).sum(), start)
    assert gradient.abs().max() > 0
    for _ in range(3):
        along = torch.randn(start.shape, generator=generator, dtype=torch.float64)
        step = 1e-6 * along
        with torch.no_grad():
            slope = float(((see(start + step) - see(start - step)) * weights).sum()) / 2e-6
        assert slope == pytest.approx(float((gradient * along).sum()), rel=1e-3)


def test_bits_are_exact_with_the_gradient_of_the_identity() -> None:
    images_u8 = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    seen = (images_u8 / 255).requires_grad_()
    found = defense("iss-bdr").differentiable(seen)
    assert torch.equal((found * 255).round().byte(), defense("iss-bdr").apply(images_u8))
    weights = torch.randn(seen.shape)
    (gradient,) = torch.autograd.grad((found * weights).sum(), seen)
    assert torch.equal(gradient, weights)


def test_the_surrogate_looks_through_the_defense(make_context) -> None:
    info, gray = DataInfo("x", 4, (3, 16, 16)), defense("iss-gray").differentiable
    plain = build_surrogate("s-net", info, make_context()).eval()
    through = build_surrogate("s-net", info, replace(make_context(), through=lambda x, labels: gray(x))).eval()
    batch = images()
    assert torch.equal(through(batch), plain(gray(batch)))
    assert not torch.equal(through(batch), plain(batch))
    delta = pgd(through, batch, torch.arange(4), direction="maximize", budget=Em().budget, step_size=0.01, steps=1)
    assert torch.equal(delta.sign(), delta[:, :1].sign().expand_as(delta)), "the gradient of a luminance has no color"


def test_without_a_defense_the_noise_is_the_attacks_own(learnable_set, make_context, monkeypatch) -> None:
    train = learnable_set(count=40)
    adaptive = attack("adaptive:base=em:through=iss-gray").component
    monkeypatch.setattr(type(adaptive._through), "differentiable", lambda self, images_01: images_01)
    context = make_context()
    own, _ = craft(attack("em").component, train, replace(context, scope="em"))
    found, _ = craft(adaptive, train, replace(make_context(), scope="adaptive"))
    assert torch.equal(own.images, found.images)


@pytest.mark.parametrize("text", ["iss-gray", "iss-jpeg", "low-pass"])
def test_more_of_the_poison_survives_the_defense(learnable_set, make_context, text: str) -> None:
    train = learnable_set(count=80)
    acts = defense(text)

    def surviving(selection: str) -> float:
        poisoned, _ = craft(attack(selection).component, train, make_context())
        assert (poisoned.images.int() - train.images.int()).abs().max() <= 8
        left = acts.apply(poisoned.images).float() - acts.apply(train.images).float()
        return float(left.square().mean())

    assert surviving(f"adaptive:base=em:through={text}") > 1.2 * surviving("em")


def test_the_key_holds_both_components_and_other_keys_hold_none() -> None:
    texts = [
        "adaptive:base=em:through=iss-jpeg",
        "adaptive:base=rem:through=iss-jpeg",
        "adaptive:base=em:through=jpeg",
        'adaptive:base=em:through="jpeg:quality=30"',
        'adaptive:base="em:eps=16/255":through=iss-jpeg',
        'adaptive:base=em:through="iss-gray+iss-jpeg"',
        'adaptive:base=em:through="iss-jpeg+iss-gray"',
    ]
    found = [identity(attack(text)) for text in texts]
    assert all(one != other for n, one in enumerate(found) for other in found[:n])
    assert found[0]["others"]["through"]["source"] == identity(select(defenses, "iss-jpeg")[0])["source"]
    assert "others" not in identity(attack("em"))


@pytest.mark.parametrize(
    "text",
    [
        "adaptive:base=em:through=iss-jpeg",
        'adaptive:base="em:eps=16/255":through="jpeg:quality=30":poison_rate=0.5',
        'adaptive:base=em:through="iss-gray+jpeg:quality=30"',
        'adaptive:base=em:through="iss-gray+jpeg:quality=30"+ops',
        "adaptive:base=em:through=iss-gray+ops",
    ],
)
def test_a_selection_is_read_back_with_all_parameters(text: str) -> None:
    selected = attack(text)
    assert attack(selected.text).parameters == selected.parameters
    (again,) = select(attacks, selected.full_text)  # another process knows no preset
    assert again.parameters == selected.parameters
    assert again.component.budget == selected.component.budget


def test_what_an_attack_through_a_chain_was_crafted_through() -> None:
    """Name and parameters are those of the chain as a defense: the board finds its row by them."""
    selected, chain = attack('adaptive:base=em:through="iss-gray+jpeg:quality=30"'), "iss-gray+jpeg:quality=30"
    through = {key.removeprefix("through."): v for key, v in selected.parameters.items() if key.startswith("through.")}
    assert through == select(defenses, chain)[0].parameters
    assert selected.parameters["through"] == "iss-gray+jpeg"
    assert [one.name for one in selected.acting] == ["adaptive", "em", "iss-gray", "jpeg"]
    assert [one.name for one in attack("em+ops").acting] == ["em", "ops"]


def test_all_attacks_are_those_that_know_no_defense() -> None:
    names = {selected.name for selected in select(attacks, "all")}
    assert "adaptive" not in names
    assert "em" in names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adaptive:base=lsp:through=iss-jpeg", "no surrogate network that can look through a defense.*; choices: em"),
        ("adaptive:base=pil:through=iss-jpeg", "no surrogate network that can look through a defense.*; choices: em"),
        ("adaptive:base=em:through=wavelet", "no differentiable version; choices: .*iss-bdr, iss-gray, iss-jpeg"),
        ('adaptive:base="em:poison_rate=0.5":through=iss-gray', "write them behind it"),
        ('adaptive:base="em+ops":through=iss-gray', "base=em.ops: this attack has no surrogate network"),
        ("adaptive:base=em:through=iss", "must name one component, and names several .iss-gray, iss-jpeg, iss-bdr"),
        ('adaptive:base=em:through="jpeg+wavelet"', "through=jpeg.wavelet: this defense has no differentiable version"),
        ("adaptive:base=em:through=iss-gray+jpeg", 'unknown attack .jpeg.[^$]*in quotes: through="first.second"'),
        ("adaptive:base=em:through=iss-jpg", "unknown defense 'iss-jpg'"),
        ("adaptive:base=em", "needs through"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        select(attacks, text)


def test_a_share_of_the_images_is_the_adaptive_attacks_own(learnable_set, make_context) -> None:
    train: ImageSet = learnable_set(count=40)
    poisoned, mask = craft(attack("adaptive:base=em:through=iss-bdr:poison_rate=0.5").component, train, make_context())
    changed = (poisoned.images != train.images).flatten(1).any(dim=1)
    assert int(mask.sum()) == 20
    assert not (changed & ~mask).any()
    with pytest.raises(ValueError, match="no surrogate network"):
        Adaptive("lsp", "iss-gray").with_others(Lsp(), defense("iss-gray"))
