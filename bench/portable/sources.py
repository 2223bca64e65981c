"""Source digests behind exported results: those that a plug-in file has, and those of this checkout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bench.portable.descriptions import Registered, differences
from bench.portable.reading import Export
from bench.registry import BY_KIND, Entry, plugin_module
from bench.registry.source import digest_of_file, of_this_repository, source_digest
from bench.stages.jobs import ROLES
from bench.store.atomic_folder import INDEX
from bench.store.results import Manifest


def sources_of(manifests: Iterable[Manifest]) -> dict[str, set[str]]:
    """By label, the source digests of the components behind artifacts, as their keys have them."""
    found: dict[str, set[str]] = {}
    for manifest in manifests:
        for role, kind in (("component", ROLES.get(manifest.stage, "")), ("defense", "defense")):
            for label, source in _sources(manifest.preimage.get(role), kind):
                found.setdefault(label, set()).add(source)
    return found


def _sources(identity: Any, kind: str) -> Iterator[tuple[str, str]]:
    """Of a component, of the parts of a chain, and of those that a registered component names."""
    parts = identity.get("parts", []) if isinstance(identity, Mapping) else []
    for one in (identity, *parts) if isinstance(parts, list) else ():
        if isinstance(one, Mapping) and {"name", "source"} <= one.keys():
            yield f"{kind} {one['name']}", str(one["source"])
            others = one.get("others")
            for parameter, other in others.items() if isinstance(others, Mapping) else ():
                if named := _kind_named(kind, str(one["name"]), parameter):
                    yield from _sources(other, named)


def _kind_named(kind: str, name: str, parameter: str) -> str:
    """The kind of the component that a parameter of another one names (`through` of `adaptive`: a defense)."""
    entry = _entry(kind, name)
    named = getattr(entry.cls, "others", {}).get(parameter) if entry is not None else None
    return BY_KIND[named].kind if named in BY_KIND else ""


def _entry(kind: str, name: str) -> Entry[Any] | None:
    """The registered component of a kind and a name, or None."""
    registry = next((one for one in BY_KIND.values() if one.kind == kind), None)
    return registry.get(name) if registry is not None else None


def plugin_problems(export: Export) -> Iterator[str]:
    """Plug-ins whose source is not the one that cells were computed with; nothing is imported."""
    computed = sources_of(_manifests(export))
    given = {label for plugin in (export.index.plugins if export.index else ()) for label in plugin.components}
    for label in sorted(computed.keys() | given):
        kind, _, name = label.partition(" ")
        entry = _entry(kind, name)
        ours = entry is not None and of_this_repository(entry.cls.__module__)
        if not ours and label not in given:
            yield f"{label}: neither this checkout nor a plug-in in {INDEX} has it; export again with --plugin FILE"
        elif ours and label in given:
            yield f"{INDEX}: plugins: {label} is a component of this repository; a plug-in needs another name"
    for number, plugin in enumerate(export.index.plugins if export.index else ()):
        path = export.root / plugin.file
        try:
            source, of_checkout = digest_of_file(path, plugin_module(path))
        except (ValueError, OSError) as error:
            yield f"{plugin.file!a}: {error}"
            continue
        for label, stated in plugin.components.items():
            if computed.get(label, {stated}) != {stated}:
                yield f"{INDEX}: plugins.{number}.components.{label}: cells were computed with another source"
            elif stated != source and not of_checkout:  # else a note: this checkout may be another one
                yield f"{plugin.file}: is not the source that cells of {label} were computed with"


def source_notes(export: Export) -> Iterator[str]:
    """Components of a folder that this process does not have, or has with another source; imports nothing of it."""
    files = {label: one.file for one in (export.index.plugins if export.index else ()) for label in one.components}
    registries = {registry.kind: registry for registry in BY_KIND.values()}
    for label, sources in sorted(sources_of(_manifests(export)).items()):
        kind, _, name = label.partition(" ")
        if name in registries[kind]:
            if sources != {source_digest(registries[kind][name].cls.__module__)}:
                yield f"{label}: computed with another source than this checkout has; its description was not compared"
        elif label in files:
            yield f"{label}: is in {files[label]}, which was not imported; read it before you give it with --plugin"
    yield from _not_compared(export)
    registered, told = Registered(), set()
    for cell in export.cells.values():
        manifests = {stage: next(iter(export.manifests[stage, key].values())) for stage, key in cell.artifacts.items()}
        told |= {text for text, of_a_commit in differences(cell, manifests, registered) if of_a_commit}
    yield from sorted(told)
    if {manifest.preimage.get("training") for manifest in _manifests(export)} - {None, source_digest("bench.training")}:
        yield "bench.training: victims were trained by another source than that of this checkout"


def _not_compared(export: Export) -> Iterator[str]:
    for plugin in export.index.plugins if export.index else ():
        path = export.root / plugin.file
        source, of_checkout = digest_of_file(path, plugin_module(path))
        if of_checkout and {*plugin.components.values()} != {source}:
            yield (
                f"{plugin.file}: imports files of this repository, and with those of this checkout it is not the "
                "source that cells were computed with: either has changed; read it, and compute its cells again"
            )


def _manifests(export: Export) -> Iterator[Manifest]:
    for of_artifact in export.manifests.values():
        yield from of_artifact.values()
