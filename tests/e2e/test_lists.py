"""`bench list`, `bench describe` and `bench --help`: what a user reads before a run."""

import pytest


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (
            "attacks",
            ["lsp", "em+ops", "from-file", "(class-wise, unbounded, surrogate-free)", "adaptive (base, through)"],
        ),
        (
            "defenses",
            [
                "dvae",
                "(family iss)",
                "Chains: iss-gray+jpeg:quality=30;",
                "jpeg-sweep = jpeg:quality=10, jpeg:quality=30,",
                "; iss = iss-gray, iss-jpeg, iss-bdr;",
                "leave out what needs a parameter: avatar (weights), clean-mix (images)",
            ],
        ),
        ("victims", ["small-cnn", "timm"]),
        ("datasets", ["shapes", "cifar10", "npz"]),
        ("executors", ["inline", "local", "submitit", "ray"]),
        (
            "presets",
            ["demo", "(unvalidated; other parameters on svhn, imagenet100)", "paper", "(other parameters on cifar100"],
        ),
    ],
)
def test_lists_break_no_word_at_80_columns(bench, monkeypatch, kind, words):
    wide = bench("list", kind)
    assert wide.code == 0
    monkeypatch.setenv("COLUMNS", "80")
    narrow = bench("list", kind)
    assert narrow.out.split() == wide.out.split(), "the same words, none of them broken"
    for word in words:
        assert word in " ".join(wide.out.split()), word


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dvae", ["arXiv:2405.01460", "stage2_cap = 3.0", "in presets: demo: 6.0", "fast: 30", "--defenses dvae"]),
        ("cuda", ["kind: class-wise, unbounded, surrogate-free", "designed against: at"]),
        ("iss-gray", ["family: iss", "on test images (with test_view=true)"]),
        ("at", ["during training (own loss), on the recipe", "norm = linf [linf | l2]"]),
        (
            "from-file",
            [
                "path (required)",
                "--attacks from-file:PATH",
                "left out of `all` and of globs: it needs a value for path",
            ],
        ),
        ("none", ["none: attack", "none: defense"]),
        ("jpeg-sweep", ["word for 5 defenses", "selects: jpeg:quality=10, jpeg:quality=30", "--defenses jpeg-sweep"]),
        ("unbounded", ["unbounded: word for 1 attack", "selects: cuda", "--attacks unbounded"]),
        ("resnet18", ["resnet18: victim", "weight_decay"]),
        ("npz", ["npz: dataset", "--dataset npz:PATH"]),
        ("fast", ["fast: preset (unvalidated", "dvae: epochs=30"]),
        ("paper", ["on cifar100 all victims: preset=paper-100", "dvae: epochs=100"]),
    ],
)
def test_describe_shows_what_a_user_needs(bench, monkeypatch, name, words):
    monkeypatch.setenv("COLUMNS", "80")
    shown = bench("describe", name)
    assert shown.code == 0, shown.err
    text = " ".join(shown.out.split())
    for word in words:
        assert word in text, word


def test_every_parameter_of_every_component_is_described(bench):
    from bench.registry import BY_KIND

    ours = ("attacks.", "bench.", "defenses.", "victims.")
    for registry in BY_KIND.values():
        for name in (name for name, entry in registry.items() if entry.cls.__module__.startswith(ours)):
            assert "not described" not in bench("describe", name).out, name


def test_describe_suggests_the_nearest_name(bench):
    shown = bench("describe", "dvaee")
    assert shown.code == 2
    assert "did you mean dvae?" in shown.err
    assert "did you mean jpeg-sweep?" in bench("describe", "jpeg-swep").err


def test_help_is_complete(bench):
    shown = bench("--help")
    assert shown.code == 0
    for command in ("run", "plan", "list", "describe", "check", "new", "publish", "show", "cache", "doctor"):
        assert f"  {command}" in shown.out
