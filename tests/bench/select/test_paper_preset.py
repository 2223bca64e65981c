"""`paper` is the papers' own hyper-parameters: every parameter of every method, and where its value comes from.

A changed or added default is caught here. `published` values were read in the named code or paper; `ours` have no
counterpart there: a limit or a variant that is off, or a choice that the method's docstring gives reasons for.
"""

from dataclasses import dataclass
from typing import Any

import pytest

from bench.api import Recipe
from bench.select.matrix import make_matrix
from bench.select.settings import Settings
from bench.select.spec import Selected

LEVEL = 1 / 255


@dataclass(frozen=True)
class Source:
    """Where `published` was read, and the rest of the parameters."""

    text: str
    published: dict[str, Any]
    ours: dict[str, Any]


WHOLE_SET = {"poison_rate": 1.0, "stratified": False, "classes": ""}
NO_LIMIT = {"max_passes": None, "max_seconds": None}

ATTACKS = {
    "none": Source("the clean set", {}, {}),
    # step_size None is eps / 10; steps and stop_error None are 20 and 0.01, class-wise 1 and 0.1: tests/attacks/test_em
    "em": Source(
        "HanxunH/Unlearnable-Examples: README, perturbation.py, configs/cifar10/resnet18.yaml",
        {
            "eps": 8 * LEVEL,
            "mode": "sample",
            "steps": None,
            "step_size": None,
            "batches_per_round": 10,
            "batch_size": 512,
            "lr": 0.1,
            "weight_decay": 5e-4,
            "stop_error": None,
            "noise_fraction": 0.2,
            "surrogate": "resnet18",
            "craft_on": "all",
        },
        # The paper's signed noise on shuffled batches, rounded; the released pipeline is each of the other values.
        {"official_order": False, "positive_only": False, "rounding": "nearest", "max_rounds": 50}
        | NO_LIMIT
        | WHOLE_SET,
    ),
    # rho_a None is eps / 2, step sizes None are a fifth of their radius: tests/attacks/test_rem
    "rem": Source(
        "fshp971/robust-unlearnable-examples: README, scripts/cifar10/gen_rem.sh, attacks/robust_workers.py",
        {
            "eps": 8 * LEVEL,
            "rho_a": None,
            "train_steps": 5000,
            "batch_size": 128,
            "lr": 0.1,
            "lr_decay_every": 2000,
            "steps": 10,
            "step_size": None,
            "attacker_steps": 10,
            "attacker_step_size": None,
            "samples": 5,
            "crop_padding": 4,
            "random_resized_crop": False,
            "flip": True,
            "surrogate": "resnet18",
            "craft_on": "all",
        },
        {"travel": 2.0} | NO_LIMIT | WHOLE_SET,
    ),
    # step_size None is eps / 20: tests/attacks/test_tap
    "tap": Source(
        "lhfowl/adversarial_poisons: village/options.py, village/shop/forgemaster_base.py, village/materials",
        {
            "eps": 8 * LEVEL,
            "targeted": True,
            "steps": 250,
            "step_size": None,
            "restarts": 8,
            "shift": None,  # 4 pixels at 32: tests/attacks/test_tap
            "flip": True,
            "surrogate_epochs": 40,
            "schedule": "multistep",
            "batch_size": 128,
            "lr": 0.1,
            "surrogate": "resnet18",
        },
        {"craft_on": "all"} | NO_LIMIT | WHOLE_SET,
    ),
    "lsp": Source(
        "dayu11/Availability-Attacks-Create-Shortcuts: synthetic_perturbations/cifar_train.py, util.py",
        {"eps": 1.3041, "patch": 8, "separation": 10.0},
        {"rounding": "nearest", "craft_on": "subset"} | WHOLE_SET,
    ),
    "ar": Source(
        "psandovalsegura/autoregressive-poisoning: README, create_ar_poisons_3channel.py",
        {"eps": 1.0, "norm": "l2", "crop": 4},
        {"coefficients": "", "craft_on": "subset"} | WHOLE_SET,
    ),
    "ops": Source(
        "cychomatica/One-Pixel-Shotcut: perturb.py",
        {"sparsity": 1, "objective": "code"},
        {"craft_on": "subset"} | WHOLE_SET,
    ),
    # step_size None is eps / 10: tests/attacks/test_pil
    "pil": Source(
        "arXiv:2601.19967, the method's section",
        {
            "eps": 8 * LEVEL,
            "steps": 30,
            "step_size": None,
            "balance": 0.9,
            "surrogate_epochs": 30,
            "batch_size": 512,
            "lr": 0.003,
        },
        {"craft_on": "all"} | WHOLE_SET,
    ),
    "cuda": Source(
        "arXiv:2303.04278, the method's section",
        {"blur": 0.3, "kernel": 3},
        {"craft_on": "subset"} | WHOLE_SET,
    ),
    # Sizes named in psandovalsegura/learn-from-unlearnable: constants.py; how the patterns are drawn is not.
    "class-random": Source("constants.py", {"eps": 8 * LEVEL}, {"craft_on": "subset"} | WHOLE_SET),
    "regions": Source("constants.py", {"eps": 8 * LEVEL, "regions": 4}, {"craft_on": "subset"} | WHOLE_SET),
    "patches": Source("constants.py", {"eps": 8 * LEVEL, "side": 4}, {"craft_on": "subset"} | WHOLE_SET),
    "class-color": Source("ours", {}, {"amplitude": 0.1, "craft_on": "subset"} | WHOLE_SET),
    # step_size None is eps / 10: tests/attacks/test_hypo
    "hypo": Source(
        "TLMichael/Delusive-Adversary: main.py; budget, steps and network as in lafeat/apbench: attack/hypo_poisons.py",
        {
            "eps": 8 * LEVEL,
            "steps": 100,
            "step_size": None,
            "surrogate_epochs": 150,
            "batch_size": 128,
            "lr": 0.1,
            "surrogate": "resnet18",
        },
        {"craft_on": "all", "crop_padding": 4, "flip": True} | NO_LIMIT | WHOLE_SET,
    ),
    "dc": Source(
        "arXiv:1905.09027, section 5; epochs and width in kingfengji/DeepConfuse: CIFAR/train.py, unet.py",
        {"rounds": 500, "epochs": 20, "batch_size": 64, "lr": 0.01, "generator_lr": 1e-4, "width": 64},
        {"eps": 8 * LEVEL, "surrogate": "five-conv", "craft_on": "subset"} | WHOLE_SET,
    ),
    # step_size None is 1.1 * eps / steps
    "ntga": Source(
        "lionelmessi6410/ntga: generate_attack.py; the time in a comment of README.md",
        {
            "eps": 8 * LEVEL,
            "steps": 10,
            "step_size": None,
            "time": 4096.0,
            "block": 512,
            "validation": 10_000,
            "depth": 5,
        },
        {"craft_on": "subset"} | WHOLE_SET,
    ),
    # step_size None is eps / 8: tests/attacks/test_sep
    "sep": Source(
        "Sizhe-Chen/SEP: README, vanilla.py, ens.py",
        {
            "steps": 30,
            "step_size": None,
            "checkpoints": 30,
            "surrogate_epochs": 120,
            "crop_padding": 4,
            "flip": True,
            "batch_size": 128,
            "lr": 0.1,
            "surrogate": "resnet18",
        },
        {"eps": 8 * LEVEL, "craft_on": "all"} | NO_LIMIT | WHOLE_SET,
    ),
}

PROJECTION = {"epochs": 20, "batch_size": 1024, "lr": 0.1}
AUGMENTATION = {"degrees": 10.0, "scale": 0.2, "jitter": 0.2, "cutmix": 0.5}

DVAE = {
    "embed_into": "z",
    "perturbation": "sample",
    "latents": "sample",
    "stage1_cap": 1.0,
    "stage2_cap": 3.0,
    "stages": 2,
    "epochs": 60,
    "batch_size": 128,
    "lr": 5e-3,
    "embedding_lr_scale": 1.0,
    "warmup_epochs": 11,
}
DVAE_OURS = {"network": "auto", "embedding": "auto", "decoder_norm": "auto", "rounding": "nearest"}

DEFENSES = {
    "none": Source("undefended training", {}, {}),
    "dvae": Source(
        "yuyi-sd/D-VAE: the released CIFAR-10 scripts",
        DVAE,
        # `auto` is the released network at 32 pixels: spatial embedding, instance normalization.
        DVAE_OURS,
    ),
    "dvae-auto": Source(
        "ours: the released caps times each of the scales",
        DVAE,
        DVAE_OURS | {"scales": "0.5/1/2/4/inf", "tolerance": 0.02, "judge_epochs": 10},
    ),
    "vae": Source(
        "yuyi-sd/D-VAE: the configuration of the VAE",
        {"epochs": 60, "batch_size": 128, "lr": 5e-3},
        {"cap": 1.0, "network": "auto", "latents": "sample", "rounding": "nearest"},
    ),
    "ae": Source(
        "yuyi-sd/D-VAE: the configuration of the auto-encoder",
        {"noise_sigma": 0.062, "epochs": 60, "batch_size": 128, "lr": 0.1},
        {"width": 0, "network": "auto", "rounding": "nearest"},
    ),
    "iss-gray": Source("liuzrcc/ImageShortcutSqueezing", {"test_view": False}, {}),
    "iss-jpeg": Source("liuzrcc/ImageShortcutSqueezing", {"quality": 10, "test_view": False}, {}),
    "iss-bdr": Source("liuzrcc/ImageShortcutSqueezing", {"bits": 2, "test_view": False}, {}),
    "jpeg": Source("no paper: a middle quality", {}, {"quality": 50, "test_view": False}),
    # step_size None is eps / 4 = 2/255: tests/defenses/test_adversarial_training
    "at": Source(
        "yuyi-sd/D-VAE: adversarial training",
        {"eps": 8 * LEVEL, "norm": "linf", "steps": 10, "step_size": None, "epochs": 100, "schedule": "multistep"},
        {"travel": 2.5},
    ),
    # step_size None is 1.25 * eps = 10/255: likewise
    "at-fast": Source(
        "locuslab/fast_adversarial: CIFAR10/train_fgsm.py",
        {"eps": 8 * LEVEL, "step_size": None, "epochs": 15},
        {"check_every": 100},
    ),
    "cutout": Source("liuzrcc/ImageShortcutSqueezing", {"size": 16}, {}),
    # No paper on unlearnable examples has these filters: all their parameters are ours.
    "low-pass": Source("none", {}, {"keep": 0.5, "test_view": False}),
    "gaussian-blur": Source("none", {}, {"sigma": 1.0, "test_view": False}),
    "median": Source("none", {}, {"size": 3, "test_view": False}),
    "bilateral": Source("none", {}, {"size": 5, "sigma_color": 0.1, "sigma_space": 1.5, "test_view": False}),
    "total-variation": Source("none", {}, {"weight": 0.05, "iterations": 30, "test_view": False}),
    "wavelet": Source("none", {}, {"wavelet": "db2", "levels": 2, "strength": 1.0, "test_view": False}),
    "svd": Source("none", {}, {"rank": 8, "test_view": False}),
    "ueraser": Source(
        "lafeat/ueraser: library file, README and scripts",
        {
            "variant": "standard",
            "draws": 5,
            "worst_epochs": 50,
            "plasma": 0.5,
            "jpeg_quality": None,
            "epochs": 200,
            "lr": 0.01,
        },
        {},
    ),
    "op": Source("psandovalsegura/learn-from-unlearnable", PROJECTION, {"center": False}),
    "aug": Source("psandovalsegura/learn-from-unlearnable", AUGMENTATION, {}),
    "op-aug": Source("psandovalsegura/learn-from-unlearnable", PROJECTION | AUGMENTATION, {"center": False}),
    "early-stop": Source("none", {}, {"epochs": 5}),
    "coin": Source("arXiv:2311.18403", {"distance": 2.0, "epochs": 80, "weight_decay": 0.0}, {}),
    "sharpen-lowpass": Source(
        "arXiv:2411.01742", {"center": 2.5, "deviation": 0.1, "keep": 0.3, "epochs": 60, "batch_size": 512}, {}
    ),
    "eclipse-lcc": Source("ECLIPSE, ESORICS 2024", {"gray": 0.4, "sigma": 0.05}, {}),
    "mixup": Source("liuzrcc/ImageShortcutSqueezing", {"rounds": 2, "probability": 0.5}, {}),
    "cutmix": Source("liuzrcc/ImageShortcutSqueezing", {"rounds": 2, "probability": 0.5}, {}),
}

# How the networks inside are trained. Crop and flip of a surrogate are the attack's own business.
SURROGATES = {
    "em": {"nesterov": False, "schedule": "constant", "clip_grad_norm": 5.0},
    "rem": {"nesterov": False, "schedule": "multistep", "milestones": (2000, 4000), "clip_grad_norm": None},
    "tap": {"nesterov": True, "schedule": "multistep", "milestones": (14, 24, 35), "clip_grad_norm": None},
    "hypo": {"nesterov": False, "schedule": "multistep", "milestones": (100, 125), "clip_grad_norm": None},
    "sep": {"nesterov": False, "schedule": "multistep", "milestones": (75, 90), "clip_grad_norm": None},
}
ADAM = Recipe(60, 128, "adam", 5e-3, weight_decay=0.0, crop_padding=0, flip=False, schedule="cosine-epoch")
PURIFIERS = {
    "dvae": ADAM,
    "dvae-auto": ADAM,
    "vae": ADAM,
    "ae": Recipe(60, 128, "sgd", 0.1, 0.9, crop_padding=0, flip=False),
}
VICTIM = Recipe(
    epochs=60,
    batch_size=128,
    optimizer="sgd",
    lr=0.1,
    momentum=0.9,
    nesterov=False,
    weight_decay=5e-4,
    schedule="cosine-epoch",
    milestones=(),
    warmup_epochs=0.0,
    crop_padding=4,
    flip=True,
    clip_grad_norm=5.0,
    drop_last=True,
)


@pytest.fixture(scope="module")
def chosen() -> dict[str, dict[str, Selected]]:
    """Everything that `paper` selects, by kind and name."""
    matrix = make_matrix([Settings(preset="paper", attacks="all", defenses="all")])
    kinds = {"attacks": matrix.attacks, "defenses": matrix.defenses, "victims": matrix.victims}
    return {kind: {selected.name: selected for selected in found} for kind, found in kinds.items()}


@pytest.mark.parametrize(("kind", "table"), [("attacks", ATTACKS), ("defenses", DEFENSES)])
def test_every_method_is_in_the_table(chosen, kind, table):
    assert set(chosen[kind]) == set(table)


@pytest.mark.parametrize(
    ("kind", "name", "source"),
    [
        pytest.param(kind, name, source, id=name)
        for kind, table in (("attacks", ATTACKS), ("defenses", DEFENSES))
        for name, source in table.items()
    ],
)
def test_parameters_are_the_published_ones(chosen, kind, name, source):
    assert chosen[kind][name].parameters == pytest.approx(source.published | source.ours), source.text


@pytest.mark.parametrize("name", SURROGATES)
def test_surrogates_are_trained_as_published(chosen, name):
    recipe = chosen["attacks"][name].component._recipe
    expected = {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4} | SURROGATES[name]
    assert {field: getattr(recipe, field) for field in expected} == expected


@pytest.mark.parametrize("name", PURIFIERS)
def test_purifiers_are_trained_as_published(chosen, name):
    assert chosen["defenses"][name].component._recipe == PURIFIERS[name]


def test_victims_are_trained_as_the_dvae_authors_do(chosen):
    assert [victim.name for victim in chosen["victims"].values()] == ["resnet18"]
    assert chosen["victims"]["resnet18"].component.recipe == VICTIM
