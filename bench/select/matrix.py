"""The matrix of several settings: a preset, a TOML file and the command line; the later wins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UserError, unknown
from bench.registry import datasets, load_plugin
from bench.select import presets
from bench.select.parameter_tables import KINDS, check_datasets, check_tables, told
from bench.select.settings import Settings, preset_settings
from bench.select.spec import Selected, select


@dataclass(frozen=True)
class Matrix:
    """Everything that is to be compared, validated.

    Attributes:
        dataset: canonical selection.
        attacks: `none` first.
        defenses: `none` first.
        victims: at least one.
        seeds: at least one.
        preset: its name.
        plugins: files that were imported.
        from_dataset: what the tables of a preset or a file for this data set decided: `dvae epochs=100`.
    """

    dataset: str
    attacks: tuple[Selected, ...]
    defenses: tuple[Selected, ...]
    victims: tuple[Selected, ...]
    seeds: tuple[int, ...]
    preset: str
    plugins: tuple[str, ...] = ()
    from_dataset: tuple[str, ...] = ()


def make_matrix(layers: list[Settings], plugins: tuple[Path, ...] = (), baselines: bool = True) -> Matrix:
    """The matrix of several settings, the first the weakest; the preset they name is weaker than all of them.

    Args:
        layers: the settings.
        plugins: files to import first.
        baselines: add the attack `none` and the defense `none`, which recovery needs.

    Raises:
        UserError: with every problem found.
    """
    for plugin in plugins:
        load_plugin(plugin)
    named = [layer.preset for layer in layers if layer.preset is not None]
    preset = named[-1] if named else "paper"
    if preset not in presets.names():
        raise unknown("preset", preset, presets.names())
    layers = [preset_settings(preset), *layers]

    def last(name: str) -> Any:
        return next((value for layer in reversed(layers) if (value := getattr(layer, name)) is not None), None)

    def last_texts(name: str) -> list[str]:
        return next(texts for layer in reversed(layers) if (texts := layer.texts(name)) is not None)

    problems: list[str] = []
    dataset = name = ""
    try:
        found = select(datasets, last_texts("dataset"))
        if len(found) != 1:
            raise UserError(f"one data set at a time, got {last('dataset')!r}")
        dataset, name = found[0].text, found[0].name
    except UserError as error:
        problems.append(str(error))
    chosen: dict[str, tuple[Selected, ...]] = {}
    from_dataset: list[str] = []
    tables = {
        kind: ([table for layer in layers for table in layer.layers(kind, name)], layers[0].layers(kind, name))
        for kind in KINDS
    }
    for kind, registry in KINDS.items():
        try:
            _check_tables(kind, layers)
            texts = last_texts(kind)
            if baselines and kind != "victims":
                texts = ["none", *texts]
            chosen[kind] = tuple(select(registry, texts, *tables[kind], tables))
            for_dataset = [layer.on(name).get(kind, {}) for layer in layers]
            from_dataset += filter(None, (told(selected, for_dataset) for selected in chosen[kind]))
        except UserError as error:
            problems.append(str(error))
    try:
        for layer in layers:
            check_datasets(layer.datasets)
    except UserError as error:
        problems.append(str(error))
    seeds: tuple[int, ...] = ()
    try:
        seeds = parse_seeds(last("seeds"))
    except UserError as error:
        problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems))
    return Matrix(
        dataset,
        chosen["attacks"],
        chosen["defenses"],
        chosen["victims"],
        seeds,
        preset,
        tuple(str(plugin.resolve()) for plugin in plugins),
        tuple(from_dataset),
    )


_MOST_SEEDS = 10_000


def parse_seeds(value: int | str | list[int]) -> tuple[int, ...]:
    """`3` is seeds 0, 1, 2; `7,` or `0,5` or a list are these seeds."""
    try:
        if isinstance(value, str) and "," not in value:
            value = int(value)
        if isinstance(value, int):
            if value > _MOST_SEEDS:
                raise UserError(f"seeds {value}: a count is at most {_MOST_SEEDS}; for one seed write '{value},'")
            seeds = tuple(range(value))
        else:
            seeds = tuple(int(s) for s in (value.split(",") if isinstance(value, str) else value) if str(s).strip())
    except ValueError as error:
        raise UserError(f"seeds {value!r}: give a count (3) or a comma list (0,5)") from error
    if not seeds or min(seeds) < 0 or len(set(seeds)) != len(seeds):
        raise UserError(f"seeds {value!r}: give at least one, each >= 0 and only once")
    return seeds


def _check_tables(kind: str, layers: list[Settings]) -> None:
    """Raises UserError for a misspelt name or parameter in a table of any data set."""
    for layer in layers:
        check_tables(kind, layer.parameters)
        for name, settings in (layer.datasets or {}).items():
            check_tables(kind, settings.get("parameters"), f"datasets.{name}")
