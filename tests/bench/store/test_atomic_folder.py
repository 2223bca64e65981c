import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.store.atomic_folder import FIGURES, MANIFEST, check_folder, write_folder
from bench.store.locks import owned

SITE = {"index.html": b"new", "assets/a.js": b"1"}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_holds_exactly_what_was_written_last(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "site"
    write_folder(out, {"old.html": b"old", "cells/00.js": b"x"})
    write_folder(out, SITE)
    assert set(contents(out)) == {*SITE, MANIFEST}
    assert [path.name for path in out.parent.iterdir()] == ["site"]
    assert not (out / "cells").exists()


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    dead, living, foreign = (tmp_path / f".site-{name}" for name in ("deaddead", "livingxx", "my_notes"))
    for folder in (dead / "new", living / "new", foreign):
        folder.mkdir(parents=True)
        (folder / "index.html").write_bytes(b"half")
    (dead / "lock").touch()
    (foreign / "lock").touch()
    with owned(living / "lock"):
        write_folder(tmp_path / "site", SITE)
        assert {path.name for path in tmp_path.iterdir()} == {"site", living.name, foreign.name}
    write_folder(tmp_path / "site", SITE)
    assert {path.name for path in tmp_path.iterdir()} == {"site", foreign.name}


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    write_folder(tmp_path / "site", SITE)
    assert contents(tmp_path / "site")["index.html"] == b"new"


def test_files_of_others_are_never_replaced(tmp_path: Path) -> None:
    write_folder(tmp_path / "site", SITE)
    for name in ("CNAME", "assets/mine.txt"):
        (tmp_path / "site" / name).write_text("mine")
    before = contents(tmp_path / "site")
    with pytest.raises(UserError, match=r"did not write \(CNAME, assets/mine.txt\).*choose a new or empty one"):
        write_folder(tmp_path / "site", SITE)
    assert contents(tmp_path / "site") == before


def test_figures_never_replace_a_site_nor_a_site_figures(tmp_path: Path) -> None:
    write_folder(tmp_path / "site", SITE)
    with pytest.raises(UserError, match="holds files that `bench figures` did not write"):
        check_folder(tmp_path / "site", FIGURES)
    write_folder(tmp_path / "figs", {"a/heat-map.txt": b""}, FIGURES)
    check_folder(tmp_path / "figs", FIGURES)
    with pytest.raises(UserError, match="holds files that `bench publish` did not write"):
        check_folder(tmp_path / "figs")


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path / "site", SITE)
    (tmp_path / "site" / MANIFEST).write_text("{")
    with pytest.raises(UserError, match=r"cannot write to .*site: site.json there cannot be read"):
        write_folder(tmp_path / "site", SITE)


def test_a_failing_write_or_swap_leaves_the_old_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "site"
    write_folder(out, {"index.html": b"old"})
    before = contents(out)

    def full_disk(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full_disk)
        with pytest.raises(UserError, match="No space left"):
            write_folder(out, SITE)
    rename = Path.rename

    def no_swap(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError(16, "Device or resource busy")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", no_swap)
    with pytest.raises(UserError, match="busy"):
        write_folder(out, SITE)
    assert contents(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


@pytest.fixture
def not_root() -> Iterator[None]:
    """Root may write everywhere: for the test it is another user."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield
    os.seteuid(before)


@pytest.mark.usefixtures("not_root")
def test_an_unwritable_parent_is_named() -> None:
    with tempfile.TemporaryDirectory() as folder:  # below one that any user may enter
        Path(folder).chmod(0o500)
        with pytest.raises(UserError, match="choose a folder that can be written"):
            write_folder(Path(folder) / "site", SITE)


def test_a_folder_that_cannot_be_made_is_named() -> None:
    with pytest.raises(UserError, match="cannot write to /proc/site"):
        write_folder(Path("/proc/site"), SITE)
