"""The page: one HTML file with its style, its table sorter and its data inside, and Plotly as a file beside it.

It opens from a folder, without a network.
"""

from __future__ import annotations

from importlib.resources import files

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from leaderboard import formats
from leaderboard.columns import BOARD_COLUMNS
from leaderboard.views import sections

PLOTLY = "assets/plotly.min.js"


def render_page(frame: pd.DataFrame, board: pd.DataFrame) -> str:
    """The HTML of `index.html`. Every name and message in it is escaped; the same tables give the same text.

    Args:
        frame: from `cells_frame`.
        board: from `leaderboard_frame`.
    """
    environment = Environment(
        loader=PackageLoader("leaderboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("index.html.j2").render(
        tiles=_tiles(frame),
        sections=sections(frame, board),
        environment=_environment(frame),
        columns=BOARD_COLUMNS,
        plotly=PLOTLY,
        style=_verbatim("page.css"),
        sorter=_verbatim("sortable.min.js"),
        script=_verbatim("page.js"),
    )


def page_assets() -> dict[str, bytes]:
    """Files the page needs beside it, by relative path: Plotly's script from the installed package."""
    return {PLOTLY: (files("plotly") / "package_data" / "plotly.min.js").read_bytes()}


def _verbatim(name: str) -> Markup:
    return Markup((files("leaderboard") / "templates" / name).read_text(encoding="utf-8"))


def _tiles(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """The numbers on top: what was run, and how much of it finished."""
    done = int((frame["status"] == "done").sum())
    defenses = frame.loc[frame["defense"] != "none", "defense_selection"].nunique()
    attacks = frame.loc[frame["attack"] != "none", "attack_selection"].nunique()
    counted = [
        ("finished cells", f"{done:,}" if done == len(frame) else f"{done:,} of {len(frame):,}"),
        ("attacks", str(attacks)),
        ("defenses", str(defenses)),
        ("victims", str(frame["victim_selection"].nunique())),
        ("seeds", str(frame["seed"].nunique())),
    ]
    return [*counted, ("device", ", ".join(sorted(frame["device"].dropna().unique())) or formats.DASH)]


def _environment(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Versions and settings as recorded with the cells; every distinct value is listed."""
    names = [name for name in frame.columns if name.startswith("provenance_")]
    values = {name: sorted(frame[name].dropna().unique()) for name in names}
    return [
        (name.removeprefix("provenance_").replace("_", " "), " · ".join(texts))
        for name, texts in values.items()
        if texts
    ]
