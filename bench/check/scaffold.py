"""`bench new`: a working plug-in file and its test, to be changed."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

from bench.errors import UserError
from bench.registry import BY_KIND

_TEMPLATES = Path(__file__).parent / "templates"


def write_scaffold(kind: str, name: str, folder: Path, during_training: bool = False) -> list[Path]:
    """Writes `NAME.py` and `test_NAME.py` and returns their paths.

    Args:
        kind: `defense`, `attack` or `victim`.
        name: to register it under.
        folder: of the files.
        during_training: a defense that replaces the loss of a batch instead of purifying the training set.

    Raises:
        UserError: for a name that cannot be registered or is taken, files that exist, or another kind that acts
            during training.
    """
    if during_training and kind != "defense":
        raise UserError(f"--during-training is for a defense, not for: {kind}")
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise UserError(f"name {name!r}: use lower-case letters, digits and dashes, beginning with a letter")
    if _known(kind, name):
        raise UserError(f"there is a {kind} {name!r} already; choose another name (`bench list {kind}s`)")
    module = name.replace("-", "_")
    cls = "".join(part.capitalize() for part in name.split("-"))
    words = {"name": name, "cls": cls, "title": name.replace("-", " ").capitalize(), "kind": kind, "module": module}
    component = "training-defense" if during_training else kind
    files = {folder / f"{module}.py": component, folder / f"test_{module}.py": "test"}
    present = [str(path) for path in files if path.exists()]
    if present:
        raise UserError(f"{', '.join(present)}: exists already; choose another name or --out")
    folder.mkdir(parents=True, exist_ok=True)
    for path, template in files.items():
        text = (_TEMPLATES / f"{template}.py.tmpl").read_text(encoding="utf-8")
        path.write_text(Template(text).substitute(words), encoding="utf-8")
    return list(files)


def _known(kind: str, name: str) -> bool:
    try:
        BY_KIND[f"{kind}s"].find(name)
    except UserError:
        return False
    return True
