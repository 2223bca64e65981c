"""An exported folder with the plug-in of a stranger, and changes of it."""

import json
from hashlib import sha256
from pathlib import Path

from bench.portable.folder import json_bytes

PLUGIN = '''"""A defense of a stranger, with a helper next to it."""
from dataclasses import dataclass

from bench.api import Filter
from bench.registry import defenses
from halving import half


@defenses.register("halve-x", deterministic=True)
@dataclass(frozen=True)
class Halve(Filter):
    """Halve all values."""

    def apply(self, images_u8):
        return half(images_u8)
'''
FORGED = ("lsp", "halve-x")
"""Attack and defense of the cell that is forged."""


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rewrite(path: Path, change) -> None:
    """Changes a JSON file in place."""
    value = json.loads(path.read_text())
    change(value)
    path.write_bytes(json_bytes(value))


def hash_again(folder: Path) -> None:
    """Puts the sha256 of every file into the index, as a careful forger would."""
    files = {name: sha256(content).hexdigest() for name, content in contents(folder).items() if name != "export.json"}
    rewrite(folder / "export.json", lambda index: index.update(files=files))


def accuracy(value, points=0):
    def change(cell, folder, manifest):
        cell["clean_test_accuracy"] = value
        if points:
            cell["curve"][-1]["clean_test_accuracy"] = value

    return change


def perfect(cell, folder, manifest):
    """An accuracy of 1, with all that follows from it: other predictions too."""
    accuracy(1.0, 1)(cell, folder, manifest)

    def forge(value):
        value["payload"].update({name: cell[name] for name in ("curve", "clean_test_accuracy")})
        value["checksum"] = sha256(b"perfect").hexdigest()

    rewrite(manifest("train"), forge)
