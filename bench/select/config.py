"""One matrix from a preset, a TOML file and the command line; the later wins.

A TOML file has the same words as the command line:

    preset = "fast"
    dataset = "cifar10"
    attacks = ["lsp", "ar"]          # or a comma list, or "all"; or tables: { name = "from-file", path = "a,b.npz" }
    defenses = "dvae,iss"
    victims = "resnet18"
    seeds = 3                        # 0, 1, 2; or a list
    [parameters.defenses]            # what every selection of that name starts from
    dvae = { epochs = 30 }
    [datasets.cifar100.parameters.defenses]      # the same on one data set: see bench.select.tables
    dvae = { epochs = 100 }
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any

from bench.errors import UserError, unknown
from bench.registry import datasets, load_plugin
from bench.select import presets
from bench.select.grammar import from_table
from bench.select.spec import Defaults, Selected, select
from bench.select.tables import KINDS, Tables, check_datasets, check_tables, shape_problems, told

Table = Mapping[str, Any]  # a selection as `name` and parameters


@dataclass(frozen=True)
class Settings:
    """Settings of a preset, a file or a command line; None is «not said here».

    Attributes:
        preset: `demo`, `fast` or `paper`.
        dataset: one selection, or a table of `name` and parameters, in which nothing has to be quoted.
        attacks, defenses, victims: selections, or lists of selections and tables.
        seeds: a count, a comma list or a list of integers.
        parameters: kind -> component name or `*` -> parameters.
        datasets: registered name -> `parameters` -> the same, for this data set alone.
    """

    preset: str | None = None
    dataset: str | Table | None = None
    attacks: str | Sequence[str | Table] | None = None
    defenses: str | Sequence[str | Table] | None = None
    victims: str | Sequence[str | Table] | None = None
    seeds: int | str | list[int] | None = None
    parameters: Tables | None = None
    datasets: Mapping[str, Mapping[str, Tables]] | None = None

    def layers(self, kind: str, dataset: str) -> list[Defaults]:
        """Its parameter tables of a kind: those for all data sets, then those for this one."""
        return [(self.parameters or {}).get(kind, {}), self.on(dataset).get(kind, {})]

    def on(self, dataset: str) -> Tables:
        """Its tables for one data set."""
        return (self.datasets or {}).get(dataset, {}).get("parameters", {})

    def texts(self, name: str) -> list[str] | None:
        """The selections of `dataset`, `attacks`, `defenses` or `victims` as texts.

        Raises:
            UserError: for a table without a name.
        """
        value = getattr(self, name)
        if value is None:
            return None
        items = [value] if isinstance(value, str | Mapping) else value
        return [item if isinstance(item, str) else from_table(item) for item in items]


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


def preset_settings(name: str) -> Settings:
    """The settings of a preset that ships with the package."""
    raw = presets.read(name)
    del raw["validated"]
    return _settings(raw, name)


def demo_parameters() -> Tables:
    """The parameter tables of the demo preset."""
    return preset_settings("demo").parameters or {}


def read_settings(path: Path) -> Settings:
    """The settings of a TOML file.

    Raises:
        UserError: for a missing or malformed file, an unknown key or a wrong type.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid TOML: {error}") from error
    return _settings(raw, path)


def _settings(raw: dict[str, Any], where: Path | str) -> Settings:
    names = [field.name for field in fields(Settings)]
    problems = [str(unknown("key", key, names)) for key in raw if key not in names]
    problems += [p for key, value in raw.items() for p in _type_problems(key, value)]
    problems += shape_problems(raw)
    if problems:
        raise UserError("\n".join(f"{where}: {problem}" for problem in problems))
    return Settings(**raw)


def _type_problems(key: str, value: Any) -> list[str]:
    if key == "preset" and not isinstance(value, str):
        return [f"preset must be a text, got {value!r}"]
    if key == "dataset" and not isinstance(value, str | dict):
        return [f"dataset must be a text or a table with a name, got {value!r}"]
    if key in KINDS and not (isinstance(value, str | dict) or _list_of(value, str | dict)):
        return [f"{key} must be a text or a list of texts and tables, got {value!r}"]
    if key == "seeds" and (isinstance(value, bool) or not (isinstance(value, int | str) or _list_of(value, int))):
        return [f"seeds must be a count or a list of integers, got {value!r}"]
    return []


def _list_of(value: Any, kind: type | UnionType) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) and not isinstance(item, bool) for item in value)


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
    for kind, registry in KINDS.items():
        try:
            _check_tables(kind, layers)
            texts = last_texts(kind)
            if baselines and kind != "victims":
                texts = ["none", *texts]
            tables = [table for layer in layers for table in layer.layers(kind, name)]
            chosen[kind] = tuple(select(registry, texts, tables, layers[0].layers(kind, name)))
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


def parse_seeds(value: int | str | list[int]) -> tuple[int, ...]:
    """`3` is seeds 0, 1, 2; `7,` or `0,5` or a list are these seeds."""
    try:
        if isinstance(value, str) and "," not in value:
            value = int(value)
        if isinstance(value, int):
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
