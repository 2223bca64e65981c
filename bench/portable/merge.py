"""Several exported folders as one: each cell once, with the manifests of its own measurement."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from bench.errors import UserError
from bench.portable.checks import measurement
from bench.portable.folder import Plugin, json_bytes, manifest_path, write_export
from bench.portable.reading import Export
from bench.portable.sources import sources_of
from bench.store.results import CellResult, Manifest

Choice = dict[str, tuple[Export, CellResult]]
"""By path of a cell, the folder from which it is taken, and the cell."""


def choose(
    exports: Sequence[Export], first_wins: bool = False, replaced: Collection[str] = (), only: Collection[str] = ()
) -> Choice:
    """The cells of several folders, each once: a finished one before a failed one, then that of the first folder.

    Args:
        exports: folders without problems.
        first_wins: take the first folder's cell where accuracies differ, instead of none.
        replaced: defenses by name, of which the cells of all folders but the last one that has any are left out.
        only: defenses by name, besides `none`, of which the last folder's cells are taken; all if there are none.

    Raises:
        UserError: if folders disagree on an accuracy, or there is no such defense.
    """
    last = _last_with(exports, replaced)
    own = {cell.defense.name for cell in exports[-1].cells.values()}
    if missing := sorted(set(only) - own):
        raise UserError(f"--only {missing[0]}: {exports[-1].root} has no such defense; it has {', '.join(sorted(own))}")
    chosen: Choice = {}
    for export in exports:
        for path, cell in export.cells.items():
            if last.get(cell.defense.name, export) is not export:
                continue
            if only and export is exports[-1] and cell.defense.name not in {*only, "none"}:
                continue
            other_export, other = chosen.setdefault(path, (export, cell))
            if other.status == cell.status == "done" and other.clean_test_accuracy != cell.clean_test_accuracy:
                if not first_wins:
                    raise UserError(
                        f"{other_export.root / path} and {export.root / path} are the same cell, but their accuracies "
                        f"differ ({other.clean_test_accuracy} and {cell.clean_test_accuracy}). Machines round "
                        "differently: --first-wins takes the first folder's"
                    )
            elif cell.status == "done" and other.status != "done":
                chosen[path] = (export, cell)
    return chosen


def write_merged(exports: Sequence[Export], chosen: Choice, out: Path) -> list[str]:
    """Writes chosen cells to one folder, without tensors.

    A cell keeps the manifests that it was recorded from: an artifact that two folders have measured has both manifests.
    So has one of an undefended cell whose record is left out: its training is what the costs of other defenses on that
    machine are compared with.

    Args:
        exports: folders without problems.
        chosen: see `choose`.
        out: see `write_export`; may be one of the folders.

    Returns:
        Folders whose costs lost what they compare with.

    Raises:
        UserError: if folders disagree on a plug-in, or the folder cannot be written.
    """
    contents: dict[str, bytes | Path] = {path: json_bytes(asdict(cell)) for path, (_, cell) in chosen.items()}
    for export, cell in chosen.values():
        for stage, key in cell.artifacts.items():
            _add(contents, measurement(cell, stage, list(export.manifests[stage, key].values())))
    without = dict[str, None]()
    for export in exports:
        for path, cell in export.cells.items():
            if cell.defense.name != "none" or cell.status != "done" or path not in chosen:
                continue
            if cell.artifacts == chosen[path][1].artifacts:
                for item in cell.artifacts.items():
                    for manifest in export.manifests[item].values():
                        _add(contents, manifest)
            else:
                without[str(export.root)] = None
    plugins, files = _plugins(chosen.values())
    write_export(out, contents | files, plugins)
    return list(without)


def _add(contents: dict[str, bytes | Path], manifest: Manifest) -> None:
    """Adds a manifest, under a name of its own if another measurement of the artifact is there."""
    content, path = json_bytes(asdict(manifest)), manifest_path(manifest.stage, manifest.key)
    if contents.setdefault(path, content) != content:
        contents[path.replace("manifest.json", f"manifest-{sha256(content).hexdigest()[:12]}.json")] = content


def _last_with(exports: Sequence[Export], replaced: Collection[str]) -> dict[str, Export]:
    """By defense to be replaced, the last folder that has a cell of it."""
    found = {cell.defense.name: export for export in exports for cell in export.cells.values()}
    if missing := sorted(set(replaced) - found.keys()):
        raise UserError(f"--replace {missing[0]}: no folder has this defense; they have {', '.join(sorted(found))}")
    return {name: found[name] for name in replaced}


def _plugins(chosen: Iterable[tuple[Export, CellResult]]) -> tuple[list[Plugin], dict[str, bytes | Path]]:
    """The plug-ins that these cells need, and the files of the folders that have them."""
    needed: dict[int, tuple[Export, set[str]]] = {}
    for export, cell in chosen:
        manifests = (one for item in cell.artifacts.items() for one in export.manifests[item].values())
        needed.setdefault(id(export), (export, set()))[1].update(sources_of(manifests))
    plugins: dict[str, Plugin] = {}
    sources: dict[str, str] = {}
    files: dict[str, bytes | Path] = {}
    for export, labels in needed.values():
        own = [plugin for plugin in (export.index.plugins if export.index else ()) if labels & plugin.components.keys()]
        for name in export.index.files if export.index and own else ():
            if name.startswith("plugins/"):
                content = (export.root / name).read_bytes()
                if files.setdefault(name, content) != content:
                    raise UserError(
                        f"{export.root / name}: another folder has another file of that name; --replace DEFENSE takes "
                        "the cells of the last folder alone; plug-ins of two authors need two names"
                    )
        for plugin in own:
            known = plugins.setdefault(plugin.file, Plugin(plugin.file, {})).components
            for label, source in plugin.components.items():
                known[label] = source
                if sources.setdefault(label, source) != source:
                    raise UserError(
                        f"{label}: the folders computed it with different sources; --replace {label.split()[-1]} takes "
                        "the last one, or run it again for one"
                    )
    return [plugins[name] for name in sorted(plugins)], files
