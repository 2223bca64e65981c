"""The built wheel in an environment of its own, outside of the checkout: all it needs is in it."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TINY = ("--dataset", "shapes:train=64:test=32", "--victims", "small-cnn:epochs=1", "--preset", "demo", "--threads", "1")
PACKAGES = ("bench", "attacks", "defenses", "victims", "leaderboard")
pytest.importorskip("build", reason="pip install 'purify-bench[dev]' for the test of the wheel")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the source archive and the wheel, which is built from that archive."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT)
    return out


@pytest.fixture(scope="module")
def environment(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel. It sees the dependencies of this one, but not the package in it."""
    home = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", home)
    (wheel,) = built.glob("*.whl")
    pip = (sys.executable, "-m", "pip", "--python", home / "bin" / "python", "install", "--quiet")
    run(*pip, "--no-deps", "--no-index", wheel)
    (site,) = (home / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")  # its own .pth files are not followed
    return home


def run(*command: object, cwd: Path | None = None) -> str:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_file_of_the_packages_is_in_the_wheel(built: Path) -> None:
    (wheel,), (archive,) = built.glob("*.whl"), built.glob("*.tar.gz")
    ours = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"attacks/ar/data/ar-10.npy", "bench/select/presets/demo.toml"} < ours
    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    assert ours <= in_wheel
    assert {name for name in in_wheel if name.split("/")[0] in PACKAGES} - ours == {"bench/constraints.txt"}
    with tarfile.open(archive) as source:
        members = {name.partition("/")[2] for name in source.getnames()}
    assert ours | {"README.md", "CHANGELOG.md", "CITATION.cff", "SECURITY.md", "constraints.txt"} <= members


def test_the_wheel_runs_a_matrix_outside_of_the_checkout(environment: Path, tmp_path: Path) -> None:
    program = "import bench, attacks, defenses, victims, leaderboard as l; print(bench.__file__, l.__file__)"
    for place in run(environment / "bin" / "python", "-c", program, cwd=tmp_path).split():
        assert Path(place).is_relative_to(environment)
    bench = environment / "bin" / "bench"
    run(bench, "run", "--attacks", "ar", "--defenses", "iss-gray", *TINY, cwd=tmp_path)
    site = tmp_path / "results" / "leaderboard"
    assert "4 finished, none missing" in (site / "index.html").read_text(encoding="utf-8")
    assert {"plotly.min.js", "site.css", "board.js"} <= {path.name for path in (site / "assets").iterdir()}
    run(bench, "new", "defense", "my-defense", cwd=tmp_path)
    assert (tmp_path / "my_defense.py").exists()


@pytest.mark.long
def test_the_wheel_installs_its_own_dependencies(built: Path, tmp_path: Path) -> None:
    """`pip install WHEEL` where nothing is: some GB of packages, no file lent by this environment."""
    run(sys.executable, "-m", "venv", tmp_path / "bare")
    (wheel,) = built.glob("*.whl")
    binaries = tmp_path / "bare" / "bin"
    run(binaries / "python", "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel)
    bench = binaries / "bench"
    run(bench, "run", "--attacks", "lsp", "--defenses", "iss-gray", *TINY, cwd=tmp_path)
    run(bench, "export", "--store", "results", "--out", "folder", cwd=tmp_path)
    assert "hashes, schema, keys and plausibility hold" in run(bench, "verify", "folder", cwd=tmp_path)
    run(bench, "publish", "--store", "folder", "--out", "site", cwd=tmp_path)
    assert (tmp_path / "site" / "index.html").exists()
    run(binaries / "python", "-m", "pip", "check")
