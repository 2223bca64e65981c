"""One registry per kind of component, read from a package of this repository and from entry points.

A component is a frozen dataclass whose fields are its parameters:

    @defenses.register("my-defense", source="arXiv:...")
    @dataclass(frozen=True)
    class MyDefense: ...

A file in `defenses/` (`attacks/`, `victims/`) is found by itself. The distribution of a third party declares
`[project.entry-points."purify_bench.defenses"] my-defense = "my_package.my_module"`.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from bench.errors import UserError, unknown
from bench.registry.discovery import module_of, sources
from bench.registry.source import forget
from bench.registry.traits import Traits

T = TypeVar("T")
C = TypeVar("C", bound=type)


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A registered component.

    Attributes:
        name: lower case with dashes; what users type.
        cls: the frozen dataclass.
        source: the paper (arXiv id, venue), shown in lists and on the board.
        family: a name that selects all its members (`iss`), or "".
        deterministic: ignores its seed.
        uses: knowledge beyond the poisoned set (`clean-data`, `pretrained-weights`), shown on the board.
    """

    name: str
    cls: type[T]
    source: str = ""
    family: str = ""
    deterministic: bool = False
    uses: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (self.cls.__doc__ or "").strip().splitlines()[0]

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameter names with their defaults (`dataclasses.MISSING` where a value must be given)."""
        fields = dataclasses.fields(self.cls)  # type: ignore[arg-type]
        return {
            f.name: f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
            for f in sorted(fields, key=lambda f: bool(f.kw_only))
        }

    @property
    def needed(self) -> list[str]:
        """Parameters without a default. `all`, globs and words of traits leave out what has any."""
        return [name for name, default in self.parameters.items() if default is dataclasses.MISSING]

    @property
    def positional(self) -> str | None:
        """The parameter a bare segment sets: the first one that is not keyword-only."""
        fields = dataclasses.fields(self.cls)  # type: ignore[arg-type]
        return next((f.name for f in fields if not f.kw_only), None)


@dataclass(frozen=True)
class _OpenEnded:
    """Serves any name in `names()` that is not registered, as `parameter` of the entry (timm model names)."""

    entry: str
    parameter: str
    names: Callable[[], Collection[str]]


_NOTHING = {"clean", "no", "nothing", "null", "baseline", "identity", "vanilla", "undefended"}


class Registry(Mapping[str, Entry[T]], Generic[T]):
    """The components of one kind by name. Reading it imports the modules that register them, once.

    Attributes:
        kind: `attack`, ...
        group: of entry points.
        package: of this repository, whose files and sub-packages register components; "" for none.
        chains: several may be selected as one, `first+second`.
        faces: methods, with their arguments, of which a component has at least one; empty if that is not asked.
        charged: what its components do is a cost, so that they must not do it before a stage begins.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        package: str = "",
        chains: bool = False,
        faces: tuple[str, ...] = (),
        charged: bool = False,
    ) -> None:
        self.kind = kind
        self.group = group
        self.package = package
        self.chains = chains
        self.faces = faces
        self.charged = charged
        self._entries: dict[str, Entry[T]] = {}
        self._traits: dict[str, Traits] = {}
        self._sweeps: dict[str, list[str]] = {}
        self._broken: dict[str, str] = {}
        self._loaded = False
        self._open_ended: _OpenEnded | None = None

    def register(
        self,
        name: str,
        *,
        source: str = "",
        family: str = "",
        deterministic: bool = False,
        uses: tuple[str, ...] = (),
    ) -> Callable[[C], C]:
        """Decorator that registers a frozen dataclass under `name`."""

        def decorate(cls: C) -> C:
            if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
                raise ValueError(f"{self.kind} name {name!r}: use lower-case letters, digits, dashes and underscores")
            params = getattr(cls, "__dataclass_params__", None)
            if params is None or not params.frozen or "__dataclass_params__" not in vars(cls):
                raise TypeError(f"{self.kind} {name!r}: decorate {cls.__name__} with @dataclass(frozen=True) below")
            if not (cls.__doc__ or "").strip() or (cls.__doc__ or "").startswith(f"{cls.__name__}("):
                raise TypeError(f"{self.kind} {name!r}: {cls.__name__} needs a docstring that says what it does")
            if self.faces and not any(callable(getattr(cls, face.partition("(")[0], None)) for face in self.faces):
                raise TypeError(
                    f"{self.kind} {name!r}: {cls.__name__} does nothing; give it at least one of "
                    f"{', '.join(self.faces)}"
                )
            if lacking := sorted(getattr(cls, "__abstractmethods__", ())):
                raise TypeError(f"{self.kind} {name!r}: {cls.__name__} must define {', '.join(lacking)}")
            present = self._entries.get(name)
            if present is not None and present.cls.__module__ != cls.__module__:
                raise UserError(
                    f"{self.kind} {name!r} is registered twice, by {present.cls.__module__} and {cls.__module__}; "
                    "rename one of them"
                )
            self._entries[name] = Entry(name, cls, source, family, deterministic, uses)
            return cls

        return decorate

    def describe(self, name: str, traits: Traits) -> None:
        """Says what kind of component a name is; may precede its registration."""
        self._traits[name] = traits

    def traits(self, name: str) -> Traits | None:
        """Traits that `describe` gave this name, or None."""
        self.load()
        return self._traits.get(name)

    def sweep(self, word: str, members: Iterable[str]) -> None:
        """Lets one word select several: names, or names with parameters (`jpeg:quality=30`)."""
        self._sweeps[word] = list(members)

    def serve_open_ended(self, entry: str, parameter: str, names: Callable[[], Collection[str]]) -> None:
        """Lets unregistered names that `names()` contains select `entry` with `parameter` set to the name."""
        self._open_ended = _OpenEnded(entry, parameter, names)

    def load(self) -> None:
        """Imports the modules that register components. One that cannot be imported is noted in `broken`."""
        if self._loaded:
            return
        self._loaded = True
        for source in sources(self.kind, self.group, self.package):
            before = dict(self._entries)
            if problem := source.load():
                self._entries = before
                self._broken[source.module] = problem

    @property
    def broken(self) -> Mapping[str, str]:
        """Modules that cannot be imported, each with the reason and the remedy. Their components are missing."""
        self.load()
        return self._broken

    def find(self, name: str) -> tuple[Entry[T], dict[str, Any]]:
        """The entry for a name and the parameters the name itself sets.

        Raises:
            UserError: for an unknown name, with the nearest one and the choices.
        """
        self.load()
        if name in self._entries:
            return self._entries[name], {}
        if self._open_ended is not None:
            names = self._open_ended.names()
            if name in names:
                return self._entries[self._open_ended.entry], {self._open_ended.parameter: name}
            raise unknown(self.kind, name, [*self._entries, *names], " ".join(self.broken.values()), plugin=True)
        nothing = [f"`none` stands for no {self.kind}."] if name.lower() in _NOTHING and "none" in self._entries else []
        remedy = " ".join([*nothing, f"`bench list {self.kind}s` lists them.", *self.broken.values()])
        raise unknown(self.kind, name, [*self._entries, *self.groups()], remedy, plugin=True)

    def groups(self) -> dict[str, list[str]]:
        """Words that select several components (families, words of traits, sweeps) -> their members, as selections.

        Words of traits select no component that needs a parameter.
        """
        self.load()
        found = {word: list(members) for word, members in self._sweeps.items()}
        for name, entry in self._entries.items():
            traits = None if entry.needed else self._traits.get(name)
            for word in (entry.family, *(traits.words if traits else ())):
                if word:
                    found.setdefault(word, []).append(name)
        return found

    def __getitem__(self, name: str) -> Entry[T]:
        self.load()
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        self.load()
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        self.load()
        return len(self._entries)


attacks: Registry[Any] = Registry("attack", "purify_bench.attacks", "attacks", chains=True)
defenses: Registry[Any] = Registry(
    "defense",
    "purify_bench.defenses",
    "defenses",
    chains=True,
    faces=(
        "purify(train, ctx)",
        "batch_loss(model, images_01, labels, ctx)",
        "change_recipe(recipe)",
        "view(images_u8)",
    ),
    charged=True,
)
victims: Registry[Any] = Registry("victim", "purify_bench.victims", "victims")
datasets: Registry[Any] = Registry("dataset", "purify_bench.datasets")
executors: Registry[Any] = Registry("executor", "purify_bench.executors", "bench.run.executors")

BY_KIND: dict[str, Registry[Any]] = {
    "attacks": attacks,
    "defenses": defenses,
    "victims": victims,
    "datasets": datasets,
    "executors": executors,
}


def plugin_module(path: Path) -> str:
    """The name of the module that `load_plugin` makes of a file; it is part of the source digest."""
    return f"bench_plugin_{path.stem.replace('-', '_')}"


def load_plugin(path: Path) -> None:
    """Imports a plug-in file (`--plugin my_defense.py`); its decorators register what it defines.

    A file that was found by itself (`--plugin defenses/my_defense.py`) is not imported twice.

    Raises:
        UserError: if the file is missing or fails to import; it shows the line that failed.
    """
    if path.is_dir():
        files = sorted(path.glob("*.py"))
        raise UserError(f"--plugin {path}: is a folder; give a file, {files[0] if files else 'FILE.py'}")
    if not path.is_file():
        raise UserError(f"--plugin {path}: no such file")
    for registry in BY_KIND.values():
        if problem := registry.broken.get(module_of(path)):
            raise UserError(problem)
    if module_of(path) in sys.modules:
        return
    name = plugin_module(path)
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise UserError(f"--plugin {path}: not a Python file (it must end in .py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    forget(path.resolve())
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path.resolve())]
        where = f" (line {frames[-1].lineno})" if frames else ""
        raise UserError(f"--plugin {path}{where}: fails to import: {type(error).__name__}: {error}") from error
