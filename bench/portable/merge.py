"""Several exported folders as one: each cell once, with the manifests of its own measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from bench.errors import UserError
from bench.portable.checks import measurement
from bench.portable.folder import Plugin, json_bytes, manifest_path, write_export
from bench.portable.reading import Export
from bench.store.results import CellResult, Manifest


def merge(exports: Sequence[Export], out: Path, first_wins: bool = False) -> tuple[int, int]:
    """Writes the cells of several folders to one, without tensors.

    A finished cell is taken before a failed one, then that of the first folder. A cell keeps the manifests that it was
    recorded from: an artifact that two folders have measured has both manifests. So has one of an undefended cell whose
    record is left out: its training is what the costs of other defenses on that machine are compared with.

    Args:
        exports: folders without problems.
        out: see `write_export`; may be one of them.
        first_wins: take the first folder's cell where accuracies differ, instead of none.

    Returns:
        Numbers of cells written, and of those that were left out because an earlier folder has them.

    Raises:
        UserError: if folders disagree on an accuracy or on a plug-in, or the folder cannot be written.
    """
    chosen: dict[str, tuple[Export, CellResult]] = {}
    count = 0
    for export in exports:
        for path, cell in export.cells.items():
            count += 1
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
    contents: dict[str, bytes | Path] = {path: json_bytes(asdict(cell)) for path, (_, cell) in chosen.items()}
    for export, cell in chosen.values():
        for stage, key in cell.artifacts.items():
            _add(contents, measurement(cell, stage, list(export.manifests[stage, key].values())))
    for export in exports:
        for path, cell in export.cells.items():
            kept = chosen[path][1]
            if cell.defense.name == "none" and cell.status == "done" and cell.artifacts == kept.artifacts:
                for item in cell.artifacts.items():
                    for manifest in export.manifests[item].values():
                        _add(contents, manifest)
    plugins, files = _plugins(exports)
    write_export(out, contents | files, plugins)
    return len(chosen), count - len(chosen)


def _add(contents: dict[str, bytes | Path], manifest: Manifest) -> None:
    """Adds a manifest, under a name of its own if another measurement of the artifact is there."""
    content, path = json_bytes(asdict(manifest)), manifest_path(manifest.stage, manifest.key)
    if contents.setdefault(path, content) != content:
        contents[path.replace("manifest.json", f"manifest-{sha256(content).hexdigest()[:12]}.json")] = content


def _plugins(exports: Sequence[Export]) -> tuple[list[Plugin], dict[str, bytes | Path]]:
    """The plug-ins of all folders, and their files."""
    plugins: dict[str, Plugin] = {}
    files: dict[str, bytes | Path] = {}
    for export in exports:
        if export.index is None:
            continue
        for name in export.index.files:
            if name.startswith("plugins/"):
                content = (export.root / name).read_bytes()
                if files.setdefault(name, content) != content:
                    raise UserError(f"{export.root / name}: another folder has another file of that name; rename one")
        for plugin in export.index.plugins:
            known = plugins.setdefault(plugin.file, Plugin(plugin.file, {})).components
            for label, source in plugin.components.items():
                if known.setdefault(label, source) != source:
                    raise UserError(f"{label}: the folders computed it with different sources; run it again for one")
    return [plugins[name] for name in sorted(plugins)], files
