import json
import shutil
import sys

import pytest

from bench.cli.main import main
from bench.portable.checks import check_export
from bench.portable.folder import json_bytes, manifest_path
from bench.portable.reading import read_export
from tests.conftest import forgotten_plugins
from tests.e2e.conftest import TINY

from .folders import FORGED, PLUGIN, hash_again

WORDS = [
    "run",
    "--attacks",
    "lsp",
    "--defenses",
    "halve-x,iss-gray",
    "--plugin",
    "halve_x.py",
    *TINY,
    "--deterministic",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a plug-in and the store of its run, `results`, exported as `export`."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "halve_x.py").write_text(PLUGIN)
    (folder / "halving.py").write_text("def half(images_u8):\n    return images_u8 // 2\n")
    with forgotten_plugins(), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        patch.delitem(sys.modules, "halving", raising=False)  # that of another folder
        for words in (WORDS, ["export", "--out", "export"]):
            patch.setattr(sys, "argv", ["bench", *words])
            with pytest.raises(SystemExit) as stop:
                main()
            assert stop.value.code == 0
        yield folder


@pytest.fixture
def forged(made, tmp_path):
    """`forged(change)`: problems of a copy in which the finished cell of lsp and halve-x was changed.

    `change` gets the cell as a dict, the folder, and the path of the manifest of a stage.
    """
    folder = tmp_path / "forged"
    shutil.copytree(made / "export", folder)

    def call(change, again=True):
        cells = {path: json.loads(path.read_text()) for path in (folder / "cells").iterdir()}
        ((path, cell),) = (
            item for item in cells.items() if (item[1]["attack"]["name"], item[1]["defense"]["name"]) == FORGED
        )
        artifacts = dict(cell["artifacts"])
        change(cell, folder, lambda stage: folder / manifest_path(stage, artifacts[stage]))
        path.write_bytes(json_bytes(cell))
        if again:
            hash_again(folder)
        return check_export(read_export(folder)), path.name

    return call
