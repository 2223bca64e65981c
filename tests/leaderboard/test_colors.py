from hypothesis import given
from hypothesis import strategies as st

from leaderboard.site.colors import RGB, contrast, shade


def rgb(text: str) -> RGB:
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def test_contrast_of_black_and_white() -> None:
    assert round(contrast((0, 0, 0), (255, 255, 255)), 6) == 21


@given(st.floats(-0.1, 1.1))
def test_numbers_are_readable_on_every_shade(fraction: float) -> None:
    colors = shade(fraction)
    assert contrast(rgb(colors.light), rgb(colors.light_text)) >= 4.5
    assert contrast(rgb(colors.dark), rgb(colors.dark_text)) >= 4.5


@given(st.floats(0, 1), st.floats(0, 1))
def test_scale_is_ordered_by_lightness(a: float, b: float) -> None:
    low, high = sorted((a, b))
    white = (255, 255, 255)
    assert contrast(rgb(shade(low).light), white) <= contrast(rgb(shade(high).light), white) + 0.1
    assert contrast(rgb(shade(low).dark), white) >= contrast(rgb(shade(high).dark), white) - 0.1
