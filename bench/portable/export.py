"""Writing an exported folder from a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from bench.errors import UserError
from bench.portable.components import Named, components_of, plugin_files
from bench.portable.folder import json_bytes, manifest_path, write_export
from bench.store.artifacts import DATA_FILE, DamagedArtifactError, Store
from bench.store.atomic_folder import INDEX, check_folder
from bench.store.results import CellResult, Manifest, artifact_path, read_cell

AGAIN = "run the same command again: nothing that is stored is computed twice"


def export(
    store: Store,
    chosen: Sequence[str],
    out: Path,
    published: Callable[[CellResult], CellResult],
    tensors: bool = False,
) -> list[CellResult]:
    """Writes cells of a store, the manifests of their artifacts and the source of plug-ins to a folder.

    Args:
        store: to read; plug-ins of its cells are registered.
        chosen: keys of cells or beginnings of keys; none for all cells.
        out: see `write_export`.
        published: gives a cell as it leaves this machine.
        tensors: copy the data of artifacts too.

    Returns:
        The exported cells.

    Raises:
        UserError: if there is no such cell, one is of an older release, an artifact is damaged, a component is not
            registered or a plug-in has changed, or the folder cannot be written.
    """
    check_folder(out, INDEX)
    cells = [published(read_cell(path)) for path in _chosen(store, chosen)]
    manifests: dict[tuple[str, str], Manifest] = {}
    components: dict[str, Named] = {}
    for cell in cells:
        if not cell.preimage:
            raise UserError(f"cell {cell.key} is of an older release, which did not record its coordinates; {AGAIN}")
        components |= components_of(cell)
        for stage, key in cell.artifacts.items():
            if (stage, key) not in manifests:
                try:
                    manifests[stage, key] = store.manifest(stage, key)
                except DamagedArtifactError as error:
                    raise UserError(f"cell {cell.key}: {error}; {AGAIN}") from error
    plugins, files = plugin_files(components.values(), manifests.values())
    contents = files | {f"cells/{cell.key}.json": json_bytes(asdict(cell)) for cell in cells}
    for (stage, key), manifest in manifests.items():
        contents[manifest_path(stage, key)] = json_bytes(asdict(manifest))
        if tensors and manifest.checksum:
            if store.state(stage, key) != "valid":
                raise UserError(f"artifact {store.folder(stage, key)} is damaged; {AGAIN}")
            contents[f"{artifact_path(stage, key)}/{DATA_FILE}"] = store.folder(stage, key) / DATA_FILE
    write_export(out, contents, plugins)
    return cells


def _chosen(store: Store, prefixes: Sequence[str]) -> list[Path]:
    """Files of the cells whose keys begin so, each once."""
    paths = sorted(store.cells.glob("*.json"))
    if not paths:
        raise UserError(f"store {store.root} has no cells; run a matrix first, or name another --store")
    found: dict[Path, None] = {}
    for prefix in prefixes or [""]:
        fitting = [path for path in paths if path.name.startswith(prefix)]
        if not fitting or (prefix and len(fitting) > 1):
            problem = f"{len(fitting)} cells begin with {prefix!r}" if fitting else f"no cell begins with {prefix!r}"
            raise UserError(f"{problem}; cells.csv lists the keys of {store.cells}")
        found |= dict.fromkeys(fitting)
    return list(found)
