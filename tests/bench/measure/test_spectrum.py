import pytest
import torch
from torch import Tensor

from bench.measure.spectrum import spectrum_scores
from bench.store.scores import BANDS

CLEAN = torch.full((4, 3, 16, 16), 128, dtype=torch.uint8)
ALL = torch.ones(4, dtype=torch.bool)


def scored(delta: Tensor, mask: Tensor = ALL) -> dict[str, float | None]:
    return spectrum_scores((CLEAN.int() + delta.int()).to(torch.uint8), CLEAN, mask)


def wave(period: int) -> Tensor:
    """Stripes of +-8 levels, in all channels."""
    return torch.where(torch.arange(16) % period < period // 2, 8, -8).expand(4, 3, 16, 16)


@pytest.mark.parametrize(("period", "band"), [(16, 2), (2, 5)])
def test_stripes_lie_at_their_frequency(period: int, band: int) -> None:
    found = scored(wave(period))
    largest = max(range(1, len(BANDS) + 1), key=lambda n: found[f"band_{n}"])
    assert largest == band
    assert found[f"band_{band}"] > 0.8
    assert sum(found[f"band_{n}"] for n in range(1, len(BANDS) + 1)) == pytest.approx(1)


def test_one_color_is_the_lowest_frequency_and_a_checkerboard_the_highest() -> None:
    assert scored(torch.full((4, 3, 16, 16), 5))["band_1"] == pytest.approx(1)
    board = torch.where((torch.arange(16)[:, None] + torch.arange(16)) % 2 == 0, 8, -8).expand(4, 3, 16, 16)
    assert scored(board)["band_5"] == pytest.approx(1)


def test_white_noise_has_energy_in_proportion_to_the_frequencies() -> None:
    noise = torch.randint(-8, 9, (4, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    radius = (torch.fft.fftfreq(16)[:, None].square() + torch.fft.fftfreq(16).square()).sqrt()
    for n, (low, high) in enumerate(BANDS, start=1):
        expected = float(((radius >= low) & (radius < high)).double().mean())
        assert scored(noise)[f"band_{n}"] == pytest.approx(expected, abs=0.05)


def test_channels_have_their_shares_and_only_the_masked_images_count() -> None:
    delta = torch.zeros(4, 3, 16, 16, dtype=torch.int32)
    delta[0, 0], delta[0, 1], delta[1, 2] = 2, 4, 100
    found = scored(delta, torch.tensor([True, False, True, True]))
    assert [found[f"channel_{n}"] for n in (1, 2, 3)] == pytest.approx([0.2, 0.8, 0.0])
    assert set(scored(torch.zeros(4, 3, 16, 16)).values()) == {None}
    gray = spectrum_scores(CLEAN[:, :1] + 3, CLEAN[:, :1], ALL)
    assert gray["channel_1"] is None
    assert gray["band_1"] == pytest.approx(1)
