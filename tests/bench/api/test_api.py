"""Budgets, image sets, contexts and chunked mapping."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.api import Budget, DataInfo, ImageSet, Recipe, child_seed, map_images

INFO = DataInfo("x", 2, (1, 2, 3))


def pair(differences: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    clean = torch.full((1, 1, 2, 3), 100, dtype=torch.uint8)
    moved = clean.clone().flatten()
    moved[: len(differences)] = torch.tensor([100 + d for d in differences], dtype=torch.uint8)
    return clean, moved.view_as(clean)


def test_budget_measures_are_exact_up_to_224_pixels_a_row():
    generator = torch.Generator().manual_seed(0)
    clean, moved = (torch.randint(256, (2, 3, 5, 224), generator=generator, dtype=torch.uint8) for _ in range(2))
    clean[0], moved[0] = 0, 255
    levels = moved.to(torch.int64) - clean.to(torch.int64)
    assert torch.equal(Budget("l2", 1).measure(clean, moved), levels.square().sum((1, 2, 3)).double().sqrt() / 255)
    assert torch.equal(Budget("linf", 1).measure(clean, moved), levels.abs().amax((1, 2, 3)).double() / 255)
    assert Budget("l0", 1).measure(clean, moved).tolist() == (levels != 0).any(1).sum((1, 2)).tolist()


def test_budget_measures_all_three_norms_by_hand():
    clean, moved = pair([3, -4])
    assert Budget("linf", 1).measure(clean, moved).item() == pytest.approx(4 / 255)
    assert Budget("l2", 1).measure(clean, moved).item() == pytest.approx(5 / 255)
    assert Budget("l0", 1).measure(clean, moved).item() == 2


def test_l0_counts_pixels_not_entries():
    clean = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    moved = clean.clone()
    moved[0, :, 1, 1] = 9
    assert Budget("l0", 1).measure(clean, moved).item() == 1


@given(level=st.integers(0, 255))
def test_linf_budget_of_whole_levels_allows_exactly_those(level: int):
    budget = Budget("linf", level / 255)
    clean = torch.zeros(1, 1, 1, 1, dtype=torch.uint8)
    at = torch.full_like(clean, level)
    assert budget.measure(clean, at).item() <= budget.allowed((1, 1, 1))
    if level < 255:
        assert budget.measure(clean, at + 1).item() > budget.allowed((1, 1, 1))


def test_a_budget_without_a_norm_allows_everything_and_says_so():
    budget = Budget("none")
    clean = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    assert str(budget) == "no norm bound"
    assert float(budget.measure(clean, clean + 255)) == pytest.approx(math.sqrt(12)), "L2"
    assert budget.allowed((3, 2, 2)) == math.inf


@pytest.mark.parametrize(
    ("norm", "radius"),
    [("l1", 1.0), ("linf", -1.0), ("l2", float("nan")), ("linf", float("inf")), ("none", 1.0), ("none", 0.0)],
)
def test_budget_refuses_nonsense(norm, radius):
    with pytest.raises(ValueError, match=r"norm|radius"):
        Budget(norm, radius)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 1, 2, 3), torch.zeros(2, dtype=torch.int64), "uint8"),
        (torch.zeros(2, 1, 2, 3, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), "labels must be int64"),
        (torch.zeros(2, 1, 2, 3, dtype=torch.uint8), torch.tensor([0, 2]), r"0\.\.1"),
        (torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.tensor([0, 1]), "info says"),
    ],
)
def test_image_set_refuses_wrong_tensors(images, labels, message):
    with pytest.raises(ValueError, match=message):
        ImageSet(images, labels, INFO)


def test_recipe_refuses_nonsense():
    with pytest.raises(ValueError, match="lr"):
        Recipe(lr=-1)
    with pytest.raises(ValueError, match="epochs"):
        Recipe(epochs=0)


def test_a_generator_starts_over_and_a_stream_goes_on(make_context):
    ctx = make_context()
    first = [torch.rand(1, generator=ctx.generator("a")).item() for _ in range(2)]
    assert first[0] == first[1]
    stream = [torch.rand(1, generator=ctx.stream("a")).item() for _ in range(2)]
    assert stream[0] != stream[1]


def test_seeds_differ_by_scope_and_purpose():
    assert (
        len({child_seed(0, "a", "b"), child_seed(0, "b", "a"), child_seed(1, "a", "b"), child_seed(0, "a", "c")}) == 4
    )


def test_map_images_gives_the_same_in_memory_and_on_disk(random_set, make_context):
    images, ctx = random_set(50), make_context()
    in_memory = map_images(images, lambda part, rows: 255 - part, ctx, chunk=7)
    ctx.resident_bytes = 10
    on_disk = map_images(images, lambda part, rows: 255 - part, ctx, chunk=7)
    assert list(ctx.scratch.iterdir()), "a large result lies in a file"
    assert torch.equal(in_memory.images, 255 - images.images)
    assert torch.equal(on_disk.images, in_memory.images)


def test_state_is_made_once_a_stage_and_name(make_context):
    ctx, other = make_context(), make_context()
    counts = ctx.state("counts", list)
    counts.append(1)
    assert ctx.state("counts", list) is counts
    assert ctx.state("more", list) == []
    assert other.state("counts", list) == []
