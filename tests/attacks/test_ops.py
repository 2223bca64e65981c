import pytest
import torch
from torch import Tensor

from attacks.ops import Ops
from bench.api import ImageSet
from bench.errors import UserError


def _by_the_book(train: ImageSet, sparsity: int, objective: str) -> tuple[list[list[int]], list[list[list[int]]]]:
    """The authors' search: every candidate of every class is scored on all its images."""
    channels, height, width = train.info.shape
    corners = [[255 * (index >> (channels - 1 - c) & 1) for c in range(channels)] for index in range(2**channels)]
    taken: set[tuple[int, int]] = set()
    positions, colors = [], []
    for label in range(train.info.num_classes):
        images = train.images[train.labels == label].flatten(2).double() / 255
        ranked = []
        for position in range(height * width):
            for index, corner in enumerate(corners):
                distance = (torch.tensor(corner).double() / 255 - images[:, :, position]).abs()
                if objective == "code":
                    top, bottom = distance.mean(), distance.std(correction=0)
                else:
                    top, bottom = distance.sum(1).mean(), distance.sum(1).var(correction=0)
                score = float(top / bottom) if top > 0 else 0.0
                if (position, index) not in taken:
                    ranked.append((-score, position, index))
        chosen: list[tuple[int, int]] = []
        for _, position, index in sorted(ranked):
            if len(chosen) < sparsity and position not in [p for p, _ in chosen]:
                chosen.append((position, index))
        taken.update(chosen)
        positions.append([p for p, _ in chosen])
        colors.append([corners[index] for _, index in chosen])
    return positions, colors


def _noisy(train: ImageSet) -> ImageSet:
    """Independent noise on every entry, so that no two candidates tie."""
    noise = torch.randint(0, 120, train.images.shape, generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return ImageSet(train.images // 2 + noise, train.labels, train.info)


def _changed(poisoned: ImageSet, train: ImageSet) -> Tensor:
    return (poisoned.images != train.images).any(1).flatten(1)


@pytest.mark.parametrize("objective", ["code", "paper"])
@pytest.mark.parametrize("sparsity", [1, 3])
@pytest.mark.parametrize("shape", [(3, 6, 5), (1, 4, 7), (4, 3, 3)])
def test_closed_form_equals_the_search_over_all_candidates(
    smooth_set, shape: tuple[int, int, int], sparsity: int, objective: str
) -> None:
    train = _noisy(smooth_set(count=44, classes=4, shape=shape))  # 11 a class: no mean is exactly gray
    positions, colors = Ops(sparsity, objective)._search(train)
    assert (positions.tolist(), colors.tolist()) == _by_the_book(train, sparsity, objective)


def test_one_constant_extreme_pixel_for_each_class(smooth_set, make_context) -> None:
    train = smooth_set(count=100, classes=10, shape=(3, 12, 20))
    poisoned = Ops().poison(train, make_context())
    changed = _changed(poisoned, train)
    assert (changed.sum(1) <= 1).all()
    for label in range(10):
        rows = train.labels == label
        (position,) = changed[rows].any(0).nonzero().flatten().tolist()
        color = poisoned.images.flatten(2)[rows][:, :, position]
        assert len(color.unique(dim=0)) == 1
        assert set(color.flatten().tolist()) <= {0, 255}


def test_pairs_of_position_and_color_are_distinct_even_for_equal_classes(smooth_set) -> None:
    one = smooth_set(count=10, classes=1, shape=(3, 8, 8))
    images = one.images.repeat(8, 1, 1, 1)
    labels = torch.arange(8).repeat_interleave(10)
    train = ImageSet(images, labels, smooth_set(8, 8, (3, 8, 8)).info)
    positions, colors = Ops()._search(train)
    assert len(torch.cat([positions, colors.flatten(1)], 1).unique(dim=0)) == 8


@pytest.mark.parametrize("sparsity", [2, 5])
def test_sparsity_counts_distinct_pixels(smooth_set, make_context, sparsity: int) -> None:
    train = _noisy(smooth_set(count=60, shape=(3, 9, 9)))
    attack = Ops(sparsity=sparsity)
    sizes = attack.budget.measure(train.images, attack.poison(train, make_context()).images)
    assert sizes.max() == attack.budget.radius == sparsity
    assert all(len(set(row)) == sparsity for row in attack._search(train)[0].tolist())


def test_order_and_seed_do_not_matter(smooth_set, make_context) -> None:
    train = _noisy(smooth_set(count=50))
    order = torch.randperm(50, generator=torch.Generator().manual_seed(3))
    poisoned = Ops().poison(train, make_context(seed=0)).images
    assert torch.equal(Ops().poison(train.take(order), make_context(seed=1)).images, poisoned[order])


def test_a_rule_on_one_pixel_recovers_the_labels(smooth_set, make_context) -> None:
    train = _noisy(smooth_set(count=400, classes=10))
    positions, colors = Ops()._search(train)
    pixels = Ops().poison(train, make_context()).images.flatten(2)[:, :, positions[:, 0]]
    hits = (pixels == colors[:, 0].T).all(1)
    assert (hits.int().argmax(1) == train.labels).double().mean() > 0.95


@pytest.mark.parametrize(("level", "color"), [(0, 255), (255, 0)])
def test_constant_images_get_the_opposite_color_at_the_first_positions(
    smooth_set, make_context, level: int, color: int
) -> None:
    train = smooth_set(count=9, classes=3, shape=(3, 4, 5))
    flat = ImageSet(torch.full_like(train.images, level), train.labels, train.info)
    positions, colors = Ops()._search(flat)
    assert positions.flatten().tolist() == [0, 1, 2]
    assert colors.unique().tolist() == [color]
    assert _changed(Ops().poison(flat, make_context()), flat).sum(1).tolist() == [1] * 9


def test_unbalanced_classes_and_two_classes_work(smooth_set, make_context) -> None:
    train = smooth_set(31, 2, labels=torch.tensor([0] * 30 + [1]))
    poisoned = Ops().poison(train, make_context())
    assert (_changed(poisoned, train).sum(1) <= 1).all()


def test_a_class_without_images_is_refused(smooth_set, make_context) -> None:
    train = smooth_set(10, 3, labels=torch.tensor([0, 2] * 5))
    with pytest.raises(UserError, match=r"no images of class \[1\].*stratified"):
        Ops().poison(train, make_context())


def test_more_pairs_than_an_image_holds_are_refused(smooth_set, make_context) -> None:
    with pytest.raises(UserError, match="sparsity 7 exceeds the 6 pixels"):
        Ops(sparsity=7).poison(smooth_set(shape=(3, 2, 3)), make_context())
    with pytest.raises(UserError, match="5 classes leave no free pixel"):
        Ops(sparsity=1).poison(smooth_set(count=10, classes=5, shape=(1, 1, 2)), make_context())


@pytest.mark.parametrize("settings", [{"sparsity": 0}, {"objective": "mean"}])
def test_settings_out_of_range_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"ops: (sparsity must be at least 1|objective must be code or paper)"):
        Ops(**settings)


def test_objectives_choose_other_colors_on_real_images(real, make_context) -> None:
    code, paper = (Ops(objective=objective)._search(real)[1] for objective in ("code", "paper"))
    assert (code != paper).any(2).all(), "the released code and the paper's formula differ in every class"
