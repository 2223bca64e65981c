"""Cell colors for accuracies: one hue, from pale to strong, readable with any color vision, on light and dark pages."""

from __future__ import annotations

from typing import NamedTuple

_LIGHT = ((247, 250, 255), (198, 219, 239), (107, 174, 214), (33, 113, 181), (8, 48, 107))
_DARK = ((24, 32, 46), (24, 58, 104), (33, 99, 168), (86, 156, 219), (190, 222, 250))
_INK, _PAPER = (0, 0, 0), (255, 255, 255)  # the larger contrast of the two is at least 4.58 on any color
RGB = tuple[int, int, int]


class Shade(NamedTuple):
    """Background and text colors (`#rrggbb`) on a light and on a dark page."""

    light: str
    light_text: str
    dark: str
    dark_text: str

    @property
    def css(self) -> str:
        """As CSS custom properties; the style sheet picks by color scheme."""
        return f"--bg:{self.light};--fg:{self.light_text};--dark-bg:{self.dark};--dark-fg:{self.dark_text}"


def shade(fraction: float) -> Shade:
    """Colors for an accuracy in 0..1 (clamped); the text has at least 4.5 times the background's contrast."""
    light, dark = _ramp(_LIGHT, fraction), _ramp(_DARK, fraction)
    return Shade(_hex(light), _hex(_text_on(light)), _hex(dark), _hex(_text_on(dark)))


def contrast(a: RGB, b: RGB) -> float:
    """WCAG 2 contrast ratio of two colors, 1 to 21."""
    bright, dim = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def _text_on(background: RGB) -> RGB:
    return max((_INK, _PAPER), key=lambda text: contrast(text, background))


def _ramp(stops: tuple[RGB, ...], fraction: float) -> RGB:
    position = min(max(fraction, 0.0), 1.0) * (len(stops) - 1)
    index = min(int(position), len(stops) - 2)
    share = position - index
    mixed = [round(a + (b - a) * share) for a, b in zip(stops[index], stops[index + 1], strict=True)]
    return mixed[0], mixed[1], mixed[2]


def _luminance(color: RGB) -> float:
    channels = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]
    return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]


def _hex(color: RGB) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
