import pytest
import torch
from torch import Tensor

from bench.training.moves import Moves, crop, draw_crops, draw_shifts, shift

BLACK = torch.zeros(3)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def _moved_by_loops(images: Tensor, moves: Moves) -> Tensor:
    """Every pixel looked up by itself."""
    moved = torch.zeros_like(images)
    height, width = images.shape[-2:]
    for n in range(len(images)):
        for i in range(height):
            for j in range(width):
                y = i + int(moves.dy[n])
                x = (width - 1 - j if moves.flip[n] else j) + int(moves.dx[n])
                if 0 <= y < height and 0 <= x < width:
                    moved[n, :, i, j] = images[n, :, y, x]
    return moved


def _moved_back_by_loops(weights: Tensor, moves: Moves) -> Tensor:
    """The adjoint: every weight carried back to the pixel it was taken from."""
    back = torch.zeros_like(weights)
    height, width = weights.shape[-2:]
    for n in range(len(weights)):
        for i in range(height):
            for j in range(width):
                y = i + int(moves.dy[n])
                x = (width - 1 - j if moves.flip[n] else j) + int(moves.dx[n])
                if 0 <= y < height and 0 <= x < width:
                    back[n, :, y, x] += weights[n, :, i, j]
    return back


def _whole(moves: Moves) -> Moves:
    return Moves(moves.dy.float(), moves.dx.float(), moves.flip)


def test_crops_equal_the_obvious_loop() -> None:
    images, moves = torch.rand(12, 3, 6, 9), draw_crops(12, 2, True, _generator())
    assert torch.equal(crop(images, moves), _moved_by_loops(images, moves))


def test_shifts_by_whole_pixels_equal_crops() -> None:
    images, moves = torch.rand(12, 3, 6, 9), draw_crops(12, 2, True, _generator())
    assert torch.allclose(shift(images, _whole(moves), BLACK), crop(images, moves), atol=1e-5)
    fill = torch.tensor([0.2, 0.5, 0.8])
    color = fill.view(3, 1, 1)
    assert torch.allclose(shift(images, _whole(moves), fill), crop(images - color, moves) + color, atol=1e-5)


@pytest.mark.parametrize("continuous", [False, True])
def test_the_gradient_is_the_weights_moved_back(continuous: bool) -> None:
    images = torch.rand(8, 3, 6, 9, requires_grad=True)
    weights, moves = torch.rand(8, 3, 6, 9), draw_crops(8, 2, True, _generator())
    moved = shift(images, _whole(moves), BLACK) if continuous else crop(images, moves)
    (gradient,) = torch.autograd.grad((moved * weights).sum(), images)
    assert torch.allclose(gradient, _moved_back_by_loops(weights, moves), atol=1e-5)


def test_half_a_pixel_is_the_mean_of_two() -> None:
    images = torch.rand(1, 3, 5, 7)
    still = torch.zeros(1)
    moved = shift(images, Moves(still, still + 0.5, torch.tensor([False])), BLACK)
    assert torch.allclose(moved[..., :-1], (images[..., :-1] + images[..., 1:]) / 2, atol=1e-5)
    assert torch.allclose(moved[..., -1], images[..., -1] / 2, atol=1e-5), "blends into the border's color"


def test_shifted_in_is_the_fill_color() -> None:
    fill = torch.tensor([0.2, 0.5, 0.8])
    moves = Moves(torch.full((2,), 50.0), torch.zeros(2), torch.tensor([False, True]))
    moved = shift(torch.rand(2, 3, 8, 8), moves, fill)
    assert torch.allclose(moved, fill.view(1, 3, 1, 1).expand_as(moved))


def test_every_image_gets_its_own_draw_in_range() -> None:
    crops, shifts = draw_crops(2000, 4, True, _generator()), draw_shifts(2000, 4.0, True, _generator())
    assert sorted(crops.dy.unique().tolist()) == sorted(crops.dx.unique().tolist()) == list(range(-4, 5))
    assert shifts.dy.abs().max() <= 4
    assert len(shifts.dx.unique()) > 1900
    for moves in (crops, shifts):
        assert 0.45 < moves.flip.float().mean() < 0.55
        assert not torch.equal(moves.dy, moves.dx)
    assert not draw_crops(100, 4, False, _generator()).flip.any()


def test_draws_repeat_and_slices_replay_a_part() -> None:
    images, moves = torch.rand(10, 3, 8, 8), draw_shifts(10, 3.0, True, _generator())
    again = draw_shifts(10, 3.0, True, _generator())
    assert torch.equal(shift(images, moves, BLACK), shift(images, again, BLACK))
    assert torch.equal(shift(images, moves, BLACK)[2:5], shift(images[2:5], moves[2:5], BLACK))


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 5)])
def test_tiny_images(shape: tuple[int, int, int]) -> None:
    images = torch.rand(4, *shape)
    moves = Moves(torch.zeros(4), torch.zeros(4), torch.zeros(4, dtype=torch.bool))
    assert torch.allclose(shift(images, moves, torch.zeros(shape[0])), images, atol=1e-6)
