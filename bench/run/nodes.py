"""Nodes of a cluster before the first job: does each have the store, and the code by which the plan was made?"""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import uuid
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

from bench.errors import UserError

_PACKAGES = ("bench", "attacks", "defenses", "victims")

Facts = dict[str, str]
Visit = Callable[[str, str], Facts]


def facts() -> Facts:
    """Versions and code of this process that its results depend on."""
    digest = hashlib.sha256()
    for package in _PACKAGES:
        found = importlib.util.find_spec(package)
        for root in sorted(found.submodule_search_locations or []) if found else []:
            for file in sorted(Path(root).rglob("*.py")):
                digest.update(f"{package}/{file.relative_to(root).as_posix()}\0".encode())
                digest.update(file.read_bytes())
    return {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "torch": version("torch").partition("+")[0],
        "purify-bench": f"{version('purify-bench')} (code {digest.hexdigest()[:12]})",
    }


def visit(store: str, token: str) -> Facts:
    """On a node: reads the file that the driver wrote into the store, and writes one back.

    Returns:
        The node's facts; `answer` is the name of the file, and is absent if the node does not see the driver's.
    """
    known, folder = facts(), Path(store)
    if not (folder / token).is_file():
        return known
    answer = f"{token}-{uuid.uuid4().hex[:8]}"
    (folder / answer).write_text(platform.node(), encoding="utf-8")
    return known | {"answer": answer}


def check_nodes(store: Path, ask: Callable[[str, str], Mapping[str, Facts]]) -> None:
    """Lets every node visit the store.

    Args:
        store: folder of artifacts, as this process names it.
        ask: runs `visit` with its two arguments on every node; gives the facts by the node's address.

    Raises:
        UserError: for a node that does not have the store or the code of this process.
    """
    token = f".visit-{uuid.uuid4().hex}"
    (store / token).write_text("", encoding="utf-8")
    here = facts()
    try:
        for node, found in ask(str(store), token).items():
            for name, value in here.items():
                if found.get(name) != value:
                    raise UserError(
                        f"node {node} has {name} {found.get(name)}, this machine has {value}; install the same there: "
                        "its results would be stored as those of the code of this machine"
                    )
            if "answer" not in found:
                raise UserError(
                    f"node {node} does not see the store {store}; give --store on a disk that all nodes see"
                )
            if not (store / found["answer"]).is_file():
                raise UserError(
                    f"node {node} wrote into the store {store}, and this machine does not see it; "
                    "give --store on a disk that all nodes see"
                )
    finally:
        for file in store.glob(f"{token}*"):
            file.unlink(missing_ok=True)
