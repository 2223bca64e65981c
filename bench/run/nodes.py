"""Nodes of a cluster before a job: do they have the store, the code by which the plan was made, and a working device?

The nodes that are there are asked before the first job, and every job asks once more: nodes come later, and code
changes while jobs wait.
"""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UserError

if TYPE_CHECKING:  # a visit needs no torch
    from bench.stages.session import Session

_PACKAGES = ("bench", "attacks", "defenses", "victims")
CORE = ("bench",)
"""What the key of a job does not hold: the source of its component is compared by the job itself."""

Facts = dict[str, str]
Visit = Callable[[str, str], Facts]


def facts(packages: tuple[str, ...] = _PACKAGES) -> Facts:
    """Versions and code of this process that its results depend on."""
    digest = hashlib.sha256()
    for package in packages:
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
    here = facts()
    with marked(store) as token:
        for node, found in ask(str(store), token).items():
            if different := _difference(found, here):
                raise UserError(f"node {node} {different}")
            if "answer" not in found:
                raise UserError(
                    f"node {node} does not see the store {store}; give --store on a disk that all nodes see"
                )
            if not (store / found["answer"]).is_file():
                raise UserError(
                    f"node {node} wrote into the store {store}, and this machine does not see it; "
                    "give --store on a disk that all nodes see"
                )


@contextmanager
def marked(store: Path) -> Iterator[str]:
    """Inside of the block the store has a file of this name, by which a node knows it."""
    token = f".visit-{uuid.uuid4().hex}"
    (store / token).write_text("", encoding="utf-8")
    try:
        yield token
    finally:
        for file in store.glob(f"{token}*"):
            file.unlink(missing_ok=True)


def unfit(session: Session, here: Facts, token: str = "", in_child: bool = False) -> str:
    """On a node, before a job: says why none can run there; "" if it can.

    Args:
        session: of the job.
        here: `facts(CORE)` of the machine on which the plan was made.
        token: name of a file in the store; "" if the node has read something from there already.
        in_child: the job runs in a child, which looks at the GPU itself: what this process leaves on it would not be
            the job's.
    """
    from bench.run.devices import fault

    if different := _difference(facts(CORE), here):
        return different
    if token and not (session.store / token).is_file():
        return f"does not see the store {session.store}; give --store on a disk that all nodes see"
    try:
        session.check_device()
    except UserError as error:
        return f"cannot do what is asked of it: {error}"
    broken = session.device.startswith("cuda") and not in_child and fault(session.device)
    return f"has a GPU that does not work ({broken})" if broken else ""


def _difference(found: Facts, here: Facts) -> str:
    for name, value in here.items():
        if found.get(name) != value:
            return (
                f"has {name} {found.get(name)}, this machine has {value}; install the same there: "
                "its results would be stored as those of the code of this machine"
            )
    return ""
