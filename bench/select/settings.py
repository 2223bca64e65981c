"""Settings of a matrix: what a preset, a TOML file or the command line says.

A TOML file has the same words as the command line:

    preset = "fast"
    dataset = "cifar10"
    attacks = ["lsp", "ar"]          # or a comma list, or "all"; or tables: { name = "from-file", path = "a,b.npz" }
    defenses = "dvae,iss"
    victims = "resnet18"
    seeds = 3                        # 0, 1, 2; or a list
    stage_timeout = 7200             # seconds: a job that takes longer is stopped and recorded as failed
    [parameters.defenses]            # what every selection of that name starts from
    dvae = { epochs = 30 }
    [datasets.cifar100.parameters.defenses]      # the same on one data set: see bench.select.parameter_tables
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
from bench.select import presets
from bench.select.grammar import from_table
from bench.select.parameter_tables import KINDS, Tables, shape_problems
from bench.select.spec import Defaults

Table = Mapping[str, Any]  # a selection as `name` and parameters


@dataclass(frozen=True)
class Settings:
    """Settings of a preset, a file or a command line; None is «not said here».

    Attributes:
        preset: `demo`, `cpu`, `fast` or `paper`.
        dataset: one selection, or a table of `name` and parameters, in which nothing has to be quoted.
        attacks, defenses, victims: selections, or lists of selections and tables.
        seeds: a count, a comma list or a list of integers.
        parameters: kind -> component name or `*` -> parameters.
        datasets: registered name -> `parameters` -> the same, for this data set alone.
        stage_timeout: seconds after which a job is stopped.
    """

    preset: str | None = None
    dataset: str | Table | None = None
    attacks: str | Sequence[str | Table] | None = None
    defenses: str | Sequence[str | Table] | None = None
    victims: str | Sequence[str | Table] | None = None
    seeds: int | str | list[int] | None = None
    parameters: Tables | None = None
    datasets: Mapping[str, Mapping[str, Tables]] | None = None
    stage_timeout: float | None = None

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
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        kind = "UTF-16" if path.read_bytes()[:2] in (b"\xff\xfe", b"\xfe\xff") else "of another encoding"
        raise UserError(f"{path}: its text is {kind}; save the file as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
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
    if key == "stage_timeout" and (isinstance(value, bool) or not isinstance(value, int | float)):
        return [f"stage_timeout must be a number of seconds, got {value!r}"]
    return []


def _list_of(value: Any, kind: type | UnionType) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) and not isinstance(item, bool) for item in value)
