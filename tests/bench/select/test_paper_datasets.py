"""What `paper` changes on each data set: nothing but what is in these tables, each with where it was read."""

from dataclasses import replace

import pytest
import torch

from bench.api import Recipe
from bench.select.matrix import Matrix, make_matrix
from bench.select.settings import Settings
from bench.training.surrogates.crafting import Passes
from defenses.dvae.architecture import choose

VICTIMS = "resnet18,resnet50,densenet121,mobilenetv2_100,vgg19,vit_base_patch16_224,vit_tiny_patch16_224,small-cnn"
SGD = Recipe()  # 60 epochs, batch 128, lr 0.1, weight decay 5e-4: test_paper_preset
ADAMW = Recipe(
    epochs=200, optimizer="adamw", lr=5e-4, weight_decay=0.03, schedule="cosine", warmup_epochs=5.0, clip_grad_norm=1.0
)
IMAGENET = replace(SGD, epochs=100, crop_padding=0, random_resized_crop=True)

CHANGED = {
    "cifar100": {
        # yuyi-sd/D-VAE: configs/cifar100/resnet18DVAE, resnet18VAE, resnet18AE, resnet18_ueraser
        "dvae": {"epochs": 100},
        "dvae-auto": {"epochs": 100},
        "vae": {"epochs": 100},
        "ae": {"epochs": 50},
        "ueraser": {"epochs": 300, "worst_epochs": 30},
        # HanxunH/Unlearnable-Examples: scripts/cifar100/min-min-noise/samplewise-noise, configs/cifar100/resnet18
        "em": {"batches_per_round": 20, "weight_decay": 5e-5},
    },
    "svhn": {},
    "imagenet100": {
        # yuyi-sd/D-VAE: configs/imagenet-mini/resnet18DVAE, resnet18VAE, resnet18_madrys, resnet18_ueraser
        "dvae": {"epochs": 20},
        "dvae-auto": {"epochs": 20},
        "vae": {"epochs": 20},
        "at": {"steps": 5, "travel": 1.25},
        "ueraser": {"epochs": 300, "worst_epochs": 30},
        # HanxunH/Unlearnable-Examples: scripts/imagenet-mini/min-min-noise/samplewise-noise, configs/imagenet-mini
        "em": {
            "eps": 16 / 255,
            "batches_per_round": 100,
            "batch_size": 32,
            "weight_decay": 5e-5,
            "stop_error": 0.1,
            "surrogate": "resnet18-imagenet",
        },
        # fshp971/robust-unlearnable-examples: scripts/in-mini/gen_rem.sh, models/resnet.py
        "rem": {
            "train_steps": 3000,
            "lr_decay_every": 1200,
            "steps": 7,
            "attacker_steps": 7,
            "travel": 1.75,
            "samples": 4,
            "crop_padding": 0,
            "random_resized_crop": True,
        },
        # lhfowl/adversarial_poisons: README; shift None is an eighth of the side, 28 pixels at 224: test_tap
        "tap": {"restarts": 1, "surrogate": "resnet18-imagenet"},
        # lafeat/apbench: patches; psandovalsegura/autoregressive-poisoning: crop, and 3.0 at 96 pixels
        "lsp": {"eps": pytest.approx((3 * 224**2) ** 0.5 * 6 / 255, rel=1e-4), "patch": 32},
        "ar": {"eps": 1.0 * 224 / 32, "crop": 2},
    },
}

# yuyi-sd/D-VAE: configs/<data set>/<network>.yaml, dataset.py; the tiny vision transformer is ours.
RECIPES = {
    "cifar10": {
        "densenet121": replace(SGD, batch_size=96),
        "vit_tiny_patch16_224": ADAMW,
        "*": SGD,
    },
    "cifar100": {
        "resnet50": replace(SGD, epochs=100, weight_decay=5e-5),
        "densenet121": replace(SGD, epochs=100, weight_decay=5e-5, batch_size=96),
        "vit_tiny_patch16_224": ADAMW,
        "*": replace(SGD, epochs=100),
    },
    "svhn": {
        "densenet121": replace(SGD, epochs=30, crop_padding=0, flip=False, batch_size=96),
        "vit_tiny_patch16_224": replace(ADAMW, crop_padding=0, flip=False),
        "*": replace(SGD, epochs=30, crop_padding=0, flip=False),
    },
    "imagenet100": {
        "resnet50": replace(IMAGENET, weight_decay=5e-5),
        "densenet121": replace(IMAGENET, weight_decay=5e-5, batch_size=96),
        "vit_tiny_patch16_224": replace(ADAMW, crop_padding=0, random_resized_crop=True),
        "*": IMAGENET,
    },
}


def paper(dataset: str) -> Matrix:
    return make_matrix([Settings("paper", dataset, "all", "all", VICTIMS)])


@pytest.mark.parametrize("dataset", CHANGED)
@pytest.mark.parametrize("kind", ["attacks", "defenses"])
def test_methods_change_as_published_and_in_nothing_else(kind: str, dataset: str) -> None:
    reference, found = (getattr(paper(name), kind) for name in ("cifar10", dataset))
    for before, after in zip(reference, found, strict=True):
        expected = before.parameters | CHANGED[dataset].get(after.name, {})
        assert after.parameters == expected, after.name


@pytest.mark.parametrize("dataset", RECIPES)
def test_victims_are_trained_as_published(dataset: str) -> None:
    for victim in paper(dataset).victims:
        expected = RECIPES[dataset].get(victim.name, RECIPES[dataset]["*"])
        assert victim.component.recipe == expected, victim.name


@pytest.mark.parametrize("dataset", RECIPES)
def test_what_the_papers_did_needs_no_words(dataset: str) -> None:
    matrix = paper(dataset)
    for selected in (*matrix.attacks, *matrix.defenses, *matrix.victims):
        assert selected.text == selected.name


def test_adversarial_training_has_its_own_length_everywhere() -> None:
    """100 epochs, also on SVHN with its 30: configs/svhn/resnet18_madrys.yaml."""
    for dataset in RECIPES:
        matrix = paper(dataset)
        at = next(defense for defense in matrix.defenses if defense.name == "at").component
        recipe = at.change_recipe(matrix.victims[0].component.recipe)
        assert (recipe.epochs, recipe.schedule, recipe.milestones) == (100, "multistep", (75, 90))


@pytest.mark.parametrize(("victim", "dropout"), [("mobilenetv2_100", 0.2), ("vgg19", 0.5), ("resnet18", None)])
def test_dropout_is_that_of_the_released_networks(victim: str, dropout: float | None) -> None:
    (chosen,) = make_matrix([Settings("paper", victims=victim)]).victims
    assert chosen.component.dropout == dropout


@pytest.mark.parametrize(("dataset", "init"), [("cifar10", "auto"), ("cifar100", "auto"), ("imagenet100", "timm")])
def test_initialisation(dataset: str, init: str) -> None:
    assert {v.component.init for v in paper(dataset).victims if v.name != "small-cnn"} == {init}


@pytest.mark.parametrize(("dataset", "epochs"), [("cifar10", 60), ("cifar100", 100), ("imagenet100", 20)])
def test_the_amplitude_term_of_dvae_sets_in_after_11_epochs(dataset: str, epochs: int) -> None:
    """main_vae_disentangle.py counts epochs, not shares."""
    dvae = next(defense for defense in paper(dataset).defenses if defense.name == "dvae").component
    assert (dvae.warmup_epochs, dvae.epochs) == (11, epochs)


def test_dvae_gets_its_network_for_224_pixels() -> None:
    """configs/imagenet-mini/resnet18DVAE.yaml: code of 256 channels on 512x28x28."""
    dvae = next(defense for defense in paper("imagenet100").defenses if defense.name == "dvae").component
    name, architecture = choose(dvae.network, (3, 224, 224))
    assert (name, architecture.latent, architecture.embedding) == ("imagenet", 256, "vector")
    assert architecture.code_shape((3, 224, 224)) == (512, 28, 28)


@pytest.mark.parametrize(("eps", "step"), [(8 / 255, 2 / 255), (4 / 255, 1 / 255)])
@pytest.mark.parametrize("dataset", RECIPES)
def test_steps_of_adversarial_training(monkeypatch, dataset: str, eps: float, step: float) -> None:
    """A quarter of the radius: ten on small images, five on ImageNet (configs/*/resnet18_madrys.yaml)."""
    seen = {}

    def record(model, images_01, labels, **options):
        seen.update(options)
        return torch.zeros_like(images_01)

    monkeypatch.setattr("defenses.adversarial_training.pgd", record)
    at = make_matrix([Settings("paper", dataset, defenses=f"at:eps={eps}")]).defenses[1].component
    at.attack(torch.nn.Flatten(), torch.zeros(1, 3, 4, 4), torch.zeros(1).long(), torch.Generator())
    assert (seen["steps"], seen["step_size"]) == (5 if dataset == "imagenet100" else 10, pytest.approx(step))


@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_augmentation_that_the_images_do_not_bear_is_off_under_every_preset(preset: str) -> None:
    """Digits are not mirrored, and the shape of a squeezed ImageNet picture comes back by its crop alone."""
    svhn, imagenet = (make_matrix([Settings(preset, name)]).victims[0].component for name in ("svhn", "imagenet100"))
    assert (svhn.recipe.flip, svhn.recipe.crop_padding) == (False, 0)
    assert imagenet.recipe.random_resized_crop


def test_steps_of_em_and_rem_on_imagenet(make_context, random_set) -> None:
    """EM: 20 of 1.6/255. REM: 7 of 2/255 against 7 of 1/255."""
    attacks = {attack.name: attack.component for attack in paper("imagenet100").attacks}
    descent = attacks["em"]._noise(random_set(), make_context(), Passes())._descent
    assert (descent.steps, 255 * descent.step_size, 255 * descent.budget.radius) == pytest.approx((20, 1.6, 16))
    players = attacks["rem"]._players(make_context())
    assert (players.steps, players.attacker_steps, players.samples) == (7, 7, 4)
    assert (255 * players.step_size, 255 * players.attacker_step_size) == pytest.approx((2, 1))
