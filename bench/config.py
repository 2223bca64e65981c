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
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any

from bench import presets
from bench.errors import UserError, unknown
from bench.grammar import from_table
from bench.registry import attacks, datasets, defenses, load_plugin, victims
from bench.spec import Defaults, Selected, select

Table = Mapping[str, Any]  # a selection as `name` and parameters
_KINDS = {"attacks": attacks, "defenses": defenses, "victims": victims}


@dataclass(frozen=True)
class Settings:
    """What a preset, a file or a command line may say; None is «not said here».

    Attributes:
        preset: `demo`, `fast` or `paper`.
        dataset: one selection, or a table of `name` and parameters, in which nothing has to be quoted.
        attacks, defenses, victims: selections, or lists of selections and tables.
        seeds: a count, a comma list or a list of integers.
        parameters: kind -> component name or `*` -> parameters.
    """

    preset: str | None = None
    dataset: str | Table | None = None
    attacks: str | Sequence[str | Table] | None = None
    defenses: str | Sequence[str | Table] | None = None
    victims: str | Sequence[str | Table] | None = None
    seeds: int | str | list[int] | None = None
    parameters: Mapping[str, Defaults] | None = None

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
    """

    dataset: str
    attacks: tuple[Selected, ...]
    defenses: tuple[Selected, ...]
    victims: tuple[Selected, ...]
    seeds: tuple[int, ...]
    preset: str
    plugins: tuple[str, ...] = ()


def preset_settings(name: str) -> Settings:
    """The settings of a preset that ships with the package."""
    raw = presets.read(name)
    del raw["validated"]
    return _settings(raw, name)


def demo_parameters() -> Mapping[str, Defaults]:
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
    parameters = raw.get("parameters", {})
    if isinstance(parameters, dict):
        for kind, table in parameters.items():
            if kind not in _KINDS:
                problems.append(f"parameters: {unknown('kind', kind, _KINDS)}")
            elif not isinstance(table, dict) or not all(isinstance(v, dict) for v in table.values()):
                problems.append(f"parameters.{kind} must be tables of parameters, for example dvae = {{ epochs = 30 }}")
    if problems:
        raise UserError("\n".join(f"{where}: {problem}" for problem in problems))
    return Settings(**raw)


def _type_problems(key: str, value: Any) -> list[str]:
    if key == "preset" and not isinstance(value, str):
        return [f"preset must be a text, got {value!r}"]
    if key == "dataset" and not isinstance(value, str | dict):
        return [f"dataset must be a text or a table with a name, got {value!r}"]
    if key in _KINDS and not (isinstance(value, str | dict) or _list_of(value, str | dict)):
        return [f"{key} must be a text or a list of texts and tables, got {value!r}"]
    if key == "seeds" and (isinstance(value, bool) or not (isinstance(value, int | str) or _list_of(value, int))):
        return [f"seeds must be a count or a list of integers, got {value!r}"]
    if key == "parameters" and not isinstance(value, dict):
        return [f"parameters must be a table, got {value!r}"]
    return []


def _list_of(value: Any, kind: type | UnionType) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) and not isinstance(item, bool) for item in value)


def make_matrix(layers: list[Settings], plugins: tuple[Path, ...] = ()) -> Matrix:
    """The matrix of several settings, the first the weakest; the preset they name is weaker than all of them.

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

    defaults, of_preset = _merge_parameters(layers), layers[0].parameters or {}
    problems: list[str] = []
    chosen: dict[str, tuple[Selected, ...]] = {}
    for kind, registry in _KINDS.items():
        try:
            _check_names(kind, defaults.get(kind, {}))
            texts = last_texts(kind)
            if kind != "victims":
                texts = ["none", *texts]
            chosen[kind] = tuple(select(registry, texts, defaults.get(kind), of_preset.get(kind)))
        except UserError as error:
            problems.append(str(error))
    dataset = ""
    try:
        found = select(datasets, last_texts("dataset"))
        if len(found) != 1:
            raise UserError(f"one data set at a time, got {last('dataset')!r}")
        dataset = found[0].text
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


def _merge_parameters(layers: list[Settings]) -> dict[str, dict[str, dict[str, Any]]]:
    merged: dict[str, dict[str, dict[str, Any]]] = {}
    for layer in layers:
        for kind, table in (layer.parameters or {}).items():
            for name, values in table.items():
                merged.setdefault(kind, {}).setdefault(name, {}).update(values)
    return merged


def _check_names(kind: str, table: Defaults) -> None:
    """Raises UserError for a misspelt name in a parameter table, also if the matrix does not use it."""
    for name, parameters in table.items():
        if name != "*":
            _KINDS[kind].find(name)
            continue
        known = {parameter for entry in _KINDS[kind].values() for parameter in entry.parameters}
        for parameter in parameters:
            if parameter not in known:
                raise unknown(f"parameter of {kind}", parameter, known)
