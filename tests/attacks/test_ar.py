import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import conv2d

from attacks.ar import Ar
from attacks.ar import coefficients as ar_coefficients
from attacks.ar import effect as ar_effect
from attacks.ar.process import autoregress, filters, normals_needed
from bench.api import Context, ImageSet, perturbation
from bench.errors import UserError
from bench.registry import source, victims


def _loop(windows: Tensor, start: Tensor, height: int, width: int) -> Tensor:
    """One step an entry, as the paper describes it: overwrite noise in raster order."""
    fields = torch.randn(*start.shape[:-1], height, width, dtype=torch.float64)
    fields[..., :2, :] = start[..., : 2 * width].reshape(*start.shape[:-1], 2, width)
    fields[..., 2:, :2] = start[..., 2 * width :].reshape(*start.shape[:-1], height - 2, 2)
    for i in range(height - 2):
        for j in range(width - 2):
            patch = fields[..., i : i + 3, j : j + 3]
            fields[..., i + 2, j + 2] = (windows[..., None, :, :] * patch).sum((-2, -1))
    return fields


def _delta(attack: Ar, train: ImageSet, ctx: Context) -> Tensor:
    """The noise before rounding."""
    coefficients = attack._load(train.info.num_classes)
    return attack._delta(coefficients, train.labels, train.info.shape, ctx.generator("delta-init"))


def _residual(noise: Tensor, windows: Tensor) -> Tensor:
    """Prediction error of each channel in every valid window, (n, 3, H - 2, W - 2)."""
    return conv2d(noise, filters(windows)[:, None], groups=3)


@pytest.mark.parametrize(("height", "width"), [(36, 36), (7, 20), (20, 7), (3, 3)])
def test_closed_form_equals_the_loop(height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    windows = Ar()._load(10)[2]
    start = torch.randn(3, 5, normals_needed(height, width), generator=generator, dtype=torch.float64)
    assert (autoregress(windows, start, height, width) - _loop(windows, start, height, width)).abs().max() < 1e-10


def test_a_field_of_36_by_36_needs_140_normals() -> None:
    assert normals_needed(36, 36) == 140


@pytest.mark.parametrize("eps", [1.0, 4.0])
def test_every_image_gets_noise_of_exactly_the_radius(smooth_set, make_context, eps: float) -> None:
    delta = _delta(Ar(eps=eps), smooth_set(), make_context())
    assert torch.allclose(delta.flatten(1).norm(dim=1), torch.tensor(eps, dtype=torch.float64), rtol=1e-5)


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 20, 33)])
def test_noise_follows_the_recurrence_of_its_class_everywhere(
    smooth_set, make_context, shape: tuple[int, int, int]
) -> None:
    train = smooth_set(shape=shape)
    delta = _delta(Ar(), train, make_context())
    for label in range(train.info.num_classes):
        own = _residual(delta[train.labels == label], Ar()._load(train.info.num_classes)[label])
        assert own.shape[2:] == (shape[1] - 2, shape[2] - 2)
        assert own.abs().max() < 1e-6


def test_the_start_up_region_is_dropped_at_the_top_and_left(smooth_set, make_context) -> None:
    train = smooth_set(count=1, classes=1, shape=(3, 6, 9))
    start = torch.randn(1, 128, generator=make_context().generator("delta-init"), dtype=torch.float64)
    needed = normals_needed(10, 13)
    field = _loop(Ar()._load(1)[0], start[0, : 3 * needed].view(3, 1, needed), 10, 13)[:, 0, 4:, 4:]
    assert torch.allclose(_delta(Ar(), train, make_context())[0], field / field.norm(), atol=1e-10)


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("classes", [10, 100])
def test_the_matched_filter_tells_every_label(smooth_set, make_context, classes: int, quantised: bool) -> None:
    train = smooth_set(count=200, classes=classes)
    gray = ImageSet(torch.full_like(train.images, 128), train.labels, train.info)
    delta = _delta(Ar(), train, make_context())
    if quantised:
        delta = (Ar().poison(gray, make_context()).images.double() - 128) / 255
    energy = torch.stack([_residual(delta, windows).abs().sum((1, 2, 3)) for windows in Ar()._load(classes)], 1)
    assert torch.equal(energy.argmin(1), train.labels)


@pytest.mark.parametrize(("norm", "eps"), [("l2", 1.0), ("l2", 4.0), ("linf", 8 / 255), ("linf", 8.7 / 255)])
def test_the_budget_holds_after_rounding(smooth_set, make_context, norm: str, eps: float) -> None:
    train, attack = smooth_set(), Ar(eps=eps, norm=norm)
    poisoned = attack.poison(train, make_context())
    sizes = attack.budget.measure(train.images, poisoned.images)
    assert (sizes <= attack.budget.allowed(train.info.shape)).all()
    assert sizes.min() > 0.5 * eps


def test_noise_is_fresh_for_each_image_and_of_both_signs(smooth_set, make_context) -> None:
    train = smooth_set(count=40, classes=2)
    delta = _delta(Ar(), train, make_context()).flatten(1)
    assert (torch.cdist(delta, delta) + torch.eye(40)).min() > 0.1
    difference = Ar().poison(train, make_context()).images.double() - train.images.double()
    assert abs(float(difference.sign().mean())) < 0.4


def test_class_means_do_not_separate_held_out_noise(smooth_set, make_context) -> None:
    train = smooth_set(count=600, classes=10)
    delta = _delta(Ar(), train, make_context()).flatten(1)
    fit, test = slice(0, 300), slice(300, 600)
    targets = torch.nn.functional.one_hot(train.labels, 10).double()
    gram = delta[fit] @ delta[fit].T + 1e-3 * torch.eye(300, dtype=torch.float64)
    ridge = delta[fit].T @ torch.linalg.solve(gram, targets[fit])
    assert ((delta[test] @ ridge).argmax(1) == train.labels[test]).double().mean() < 0.6


def test_noise_depends_on_labels_and_seed_but_not_on_pixels(smooth_set, make_context) -> None:
    train = smooth_set()
    black = ImageSet(torch.zeros_like(train.images), train.labels, train.info)
    delta = _delta(Ar(), train, make_context(seed=1))
    assert torch.equal(delta, _delta(Ar(), black, make_context(seed=1)))
    assert not torch.equal(delta, _delta(Ar(), train, make_context(seed=2)))


def test_the_noise_of_an_image_does_not_depend_on_the_others(smooth_set, make_context) -> None:
    train = smooth_set(count=30)
    few = train.take(torch.arange(7))
    assert torch.allclose(_delta(Ar(), train, make_context())[:7], _delta(Ar(), few, make_context()), atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 9, 14)])
def test_the_chunk_size_does_not_matter(smooth_set, make_context, monkeypatch, shape: tuple[int, int, int]) -> None:
    train = smooth_set(count=23, shape=shape)
    whole = Ar().poison(train, make_context()).images
    monkeypatch.setattr(perturbation, "_ENTRIES_AT_ONCE", 5 * math.prod(shape))
    assert torch.equal(Ar().poison(train, make_context()).images, whole)


@pytest.mark.parametrize("level", [0, 255])
def test_saturated_images_stay_valid(smooth_set, make_context, level: int) -> None:
    train = smooth_set(count=20, classes=2)
    flat = ImageSet(torch.full_like(train.images, level), train.labels, train.info)
    difference = Ar().poison(flat, make_context()).images.double() - level
    assert difference.abs().max() > 0
    assert difference.max() <= 0 if level else difference.min() >= 0


def test_unbalanced_classes_work(smooth_set, make_context) -> None:
    train = smooth_set(31, 5, labels=torch.tensor([0] * 30 + [3]))
    assert (Ar().poison(train, make_context()).images != train.images).flatten(1).any(1).all()


@pytest.mark.parametrize("size", [10, 100])
def test_shipped_processes_are_valid_and_distinct(size: int) -> None:
    windows = Ar()._load(size)
    assert windows.shape == (size, 3, 3, 3)
    assert torch.allclose(windows.sum((2, 3)), torch.ones(size, 3, dtype=torch.float64))
    assert (windows[..., 2, 2] == 0).all()
    assert len(windows.flatten(1).unique(dim=0)) == size


@pytest.mark.parametrize(("size", "side", "draws"), [(10, 32, 200), (100, 32, 200), (10, 224, 10), (100, 224, 3)])
def test_shipped_processes_stay_bounded_in_fresh_draws(size: int, side: int, draws: int) -> None:
    generator = torch.Generator().manual_seed(99)
    for windows in Ar()._load(size):
        start = torch.randn(3, draws, normals_needed(side + 4, side + 4), generator=generator, dtype=torch.float64)
        fields = autoregress(windows, start, side + 4, side + 4)[..., 4:, 4:]
        norms = fields.square().mean((0, 2, 3)).sqrt() * math.sqrt(3 * 32 * 32)
        assert norms.max() < 50, "the bound of the authors, which test three draws"


@pytest.mark.parametrize(("size", "draws", "least", "below"), [(10, 256, 5.9, 1), (100, 8, 2.6, 20)])
def test_shipped_processes_answer_each_other_in_fresh_draws(
    monkeypatch, size: int, draws: int, least: float, below: int
) -> None:
    monkeypatch.setattr(ar_coefficients, "_DRAWS", draws)
    answers = ar_coefficients.mutual_responses(Ar()._load(size), seed=99)
    assert answers.diagonal().max() < 1e-3
    others = answers[~torch.eye(size, dtype=torch.bool)]
    assert others.min() > least
    assert (others < ar_coefficients.limits_of(size).response).sum() <= below


@pytest.mark.parametrize(
    ("size", "shares", "roughnesses"), [(10, (0.783, 5), (0.818, 0)), (100, (0.682, 13), (0.582, 7))]
)
def test_shares_and_roughness_of_the_shipped_processes(
    size: int, shares: tuple[float, int], roughnesses: tuple[float, int]
) -> None:
    """The least, and the number below the limit. docs/measurements.md states the same.

    A field is linear in its start values: the fields of one start value each, added up, give the expected energy.
    """
    one_each = torch.eye(normals_needed(36, 36), dtype=torch.float64)
    parts = []
    for windows in Ar()._load(size).flatten(0, 1).split(30):
        fields = autoregress(windows, one_each.expand(len(windows), -1, -1), 36, 36)[..., 4:, 4:]
        parts.append(ar_coefficients._energy_and_roughness(fields))
    energy, roughness = (torch.cat(part).view(size, 3) for part in zip(*parts, strict=True))
    share = energy / energy.sum(1, keepdim=True)
    limits, found = ar_coefficients.limits_of(size), (share * roughness).sum(1)
    assert (round(float(share.amax(1).min()), 3), int((share.amax(1) < limits.share).sum())) == shares
    assert (round(float(found.min()), 3), int((found < limits.roughness).sum())) == roughnesses


@pytest.mark.long
def test_the_finder_finds_the_shipped_sets() -> None:
    """Takes five to eleven minutes: the 4,000 windows take 200 s on an idle machine."""
    windows = ar_coefficients.bounded_windows(ar_coefficients._POOL)
    for size, seed in ((10, 3), (100, 0)):
        found = ar_coefficients.find_coefficients(windows, size, seed, ar_coefficients.limits_of(size))
        assert torch.allclose(found, Ar()._load(size))


def test_other_coefficients_have_another_key(monkeypatch) -> None:
    file = Path(ar_coefficients.__file__).parent / "data/ar-100.npy"
    digests = []
    for content in (file.read_bytes(), b"other"):
        monkeypatch.setitem(source._CONTENTS, file, content)
        digests.append(source.source_digest.__wrapped__("attacks.ar"))
    assert digests[0] != digests[1]


def test_between_10_and_100_classes_the_larger_set_is_used() -> None:
    assert torch.equal(Ar()._load(11), Ar()._load(100)[:11])
    assert torch.equal(Ar()._load(2), Ar()._load(10)[:2])


def test_more_than_100_classes_name_the_remedy() -> None:
    with pytest.raises(UserError, match=r"up to 100 classes, not 101.*attacks.ar.coefficients --classes 101"):
        Ar()._load(101)


def test_the_finder_keeps_the_rule() -> None:
    pool = ar_coefficients.bounded_windows(60, seed=1)
    assert torch.equal(pool, ar_coefficients.bounded_windows(60, seed=1))
    limits = ar_coefficients.Limits(share=0.6, roughness=0.3, response=4)
    windows = ar_coefficients.find_coefficients(pool, 3, 1, limits, candidates=1000)
    assert torch.equal(windows, ar_coefficients.find_coefficients(pool, 3, 1, limits, candidates=1000))
    assert not torch.equal(windows, ar_coefficients.find_coefficients(pool, 3, 2, limits, candidates=1000))
    assert windows.shape == (3, 3, 3, 3)
    assert torch.allclose(windows.sum((2, 3)), torch.ones(3, 3, dtype=torch.float64))
    assert (windows[..., 2, 2] == 0).all()
    generator = torch.Generator().manual_seed(99)
    share, roughness = ar_coefficients.shares_and_roughness(
        windows.flatten(0, 1), torch.arange(9).view(3, 3), generator
    )
    assert share.amax(1).min() > 0.9 * 0.6
    assert roughness.min() > 0.9 * 0.3
    others = ar_coefficients.mutual_responses(windows)[~torch.eye(3, dtype=torch.bool)]
    assert others.min() > 0.8 * 4
    fresh = ar_coefficients._fields(windows.flatten(0, 1), 5, 224, generator)
    assert fresh.square().mean((2, 3)).sqrt().max() < ar_coefficients._LARGEST_RMS
    with pytest.raises(UserError, match="of 30 processes found in 1,000 candidates"):
        ar_coefficients.find_coefficients(pool, 30, 1, replace(limits, response=90), candidates=1000)


def test_responses_are_those_of_the_authors() -> None:
    processes = Ar()._load(3)
    generator = torch.Generator().manual_seed(5)
    noise = torch.stack([ar_coefficients._noise(process, generator) for process in processes])
    assert torch.allclose(noise.flatten(2).norm(dim=2), torch.ones(3, 8))
    found = ar_coefficients._responses(noise, processes).view(3, 3)
    kernel = processes[2].clone().float()
    kernel[:, 2, 2] = -1
    by_hand = sum(float(conv2d(draw[None], kernel[None]).relu().sum()) for draw in noise[1]) / 8
    assert float(found[1, 2]) == pytest.approx(by_hand, rel=1e-4)


def test_the_effect_is_measured_by_groups_on_images_held_out(smooth_set) -> None:
    images = smooth_set(count=60, classes=5)
    effect = ar_effect.measure_effect(Ar()._load(10), images, seeds=2)
    assert effect.shape == (2, 2)
    assert torch.equal(effect, ar_effect.measure_effect(Ar()._load(10), images, seeds=2))
    assert torch.equal(effect[:1], ar_effect.measure_effect(Ar()._load(10), images, seeds=2, groups=1))
    with pytest.raises(UserError, match="12 classes does not divide into groups of 5"):
        ar_effect.measure_effect(Ar()._load(12), images, seeds=1)


def test_the_effect_is_measured_with_the_demo_recipe_on_nine_tenths(smooth_set, monkeypatch) -> None:
    seen = []

    def fit(model, batches, loss, recipe, ctx) -> None:
        seen.append((len(batches), recipe))

    monkeypatch.setattr(ar_effect, "fit", fit)
    ar_effect.measure_effect(Ar()._load(10), smooth_set(count=1000, classes=10), seeds=1)
    recipe = victims["small-cnn"].cls(preset="demo").recipe
    assert seen == [(900 // recipe.batch_size, recipe)]


def test_the_effect_of_a_set_is_seen() -> None:
    """Against windows that are the same for every class, which say nothing about the label."""
    images = ar_effect.load_images("shapes")
    images = images.take(torch.arange(800))
    same = Ar()._load(1).expand(10, -1, -1, -1).contiguous()
    assert ar_effect.measure_effect(Ar()._load(10), images, 1) < ar_effect.measure_effect(same, images, 1) - 0.1


@pytest.mark.parametrize("accept", [0.3, 0.1])
def test_the_set_with_the_strongest_effect_is_written_if_it_is_strong_enough(
    monkeypatch, tmp_path, accept: float
) -> None:
    sets = {seed: torch.full((10, 3, 3, 3), float(seed), dtype=torch.float64) for seed in range(3)}
    accuracies = {0: 0.5, 1: 0.2, 2: 0.4}
    monkeypatch.setattr(ar_coefficients, "bounded_windows", lambda count: None)
    monkeypatch.setattr(ar_coefficients, "find_coefficients", lambda windows, classes, seed, limits: sets[seed])
    monkeypatch.setattr(
        ar_coefficients,
        "measure_effect",
        lambda coefficients, images, seeds, groups: torch.full((1, seeds), accuracies[int(coefficients[0, 0, 0, 0])]),
    )
    out = tmp_path / "ar.npy"
    argv = ["x", "--classes", "10", "--out", str(out), "--sets", "3", "--accept", str(accept)]
    monkeypatch.setattr("sys.argv", argv)
    if accept == 0.1:
        with pytest.raises(SystemExit, match=r"no set with a mean accuracy of at most 0.1"):
            ar_coefficients._main()
        assert not out.exists()
    else:
        ar_coefficients._main()
        assert (np.load(out) == 1).all()


@pytest.mark.parametrize("form", ["npy", "safetensors", "pt", "list.pt", "dict.pt"])
def test_external_coefficients_are_used(smooth_set, make_context, tmp_path, form: str) -> None:
    windows = Ar()._load(100)[50:54].contiguous()
    path = tmp_path / f"own.{form}"
    if form == "npy":
        np.save(path, windows.numpy())
    elif form == "pt":
        torch.save(windows, path)
    elif form == "list.pt":  # the form of the authors' params-classes-10-mr-10.pt
        torch.save([window.float() for window in windows], path)
    elif form == "dict.pt":
        torch.save({number: windows[number] for number in (3, 1, 0, 2)}, path)
    else:
        save_file({"b": windows}, path)
    attack = Ar(coefficients=str(path))
    delta = _delta(attack, smooth_set(), make_context())
    for label in range(4):
        assert _residual(delta[label::4], windows[label]).abs().max() < 1e-6
    digest = attack.content_digest()
    path.write_bytes(path.read_bytes() + b" ")
    assert digest != attack.content_digest()
    assert Ar().content_digest() is None


def test_broken_external_coefficients_name_the_class(tmp_path) -> None:
    windows = Ar()._load(10).clone()
    windows[9, 0, 0, 0] = 2.4e7
    np.save(tmp_path / "broken.npy", windows.numpy())
    with pytest.raises(UserError, match=r"class \[9\]"):
        Ar(coefficients=str(tmp_path / "broken.npy"))._load(10)
    with pytest.raises(UserError, match=r"at least \(11, 3, 3, 3\)"):
        Ar(coefficients=str(tmp_path / "broken.npy"))._load(11)


def test_gray_images_are_refused(smooth_set, make_context) -> None:
    with pytest.raises(UserError, match="3 channels, but smooth has 1"):
        Ar().poison(smooth_set(shape=(1, 28, 28)), make_context())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eps": 8 / 255}, "at least 0.1.*norm=linf"),
        ({"eps": 1.0, "norm": "linf"}, "write eps=8/255"),
        ({"norm": "l1"}, "norm must be l2 or linf"),
        ({"crop": 1}, "crop must be at least 2"),
        ({"coefficients": "missing.npy"}, "missing.npy: no such file"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Ar(**settings)


@pytest.mark.parametrize(("eps", "lowest", "highest"), [(1.0, 0.93, 1.006), (4.0, 3.5, 4.01)])
def test_facts_on_real_images(real, make_context, eps: float, lowest: float, highest: float) -> None:
    attack = Ar(eps=eps)
    sizes = attack.budget.measure(real.images, attack.poison(real, make_context()).images)
    assert lowest < sizes.mean() < highest
    assert sizes.max() <= attack.budget.allowed(real.info.shape)
