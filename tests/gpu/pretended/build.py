"""Builds the pretended device: a library that answers in place of the CUDA driver and runtime, cuBLAS and cuDNN.

    python tests/gpu/pretended/build.py FOLDER

Preloaded, torch's own CUDA code runs on a machine without a GPU: tensors live on `cuda:0`, in host memory, and kernels
do nothing, so results are zeros or garbage. What can be seen is where tensors live, and what is launched, copied and
waited for: errors about devices are torch's own. Every CUDA function that torch needs and the sources here do not
define is generated, and counts its calls under its own name.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = ("runtime.cpp", "captures.cpp", "driver.cpp", "libraries.cpp")
LIBRARY = "libcuda.so.1"  # the name under which Triton looks for it
UNCACHED = "PYTORCH_NO_CUDA_MEMORY_CACHING"
_NEEDED = re.compile(r"(?!cuFile)(__cuda|cuda[A-Z]|cublas|cudnn[A-Z]|cu[A-Z])\w+")
_DEFINED = re.compile(r"\b((?:__cuda|cuda|cublas|cudnn|cu[A-Z])\w+)\(|\b(?:MADE|COUNTED)\((\w+)")


def problem() -> str:
    """Why it cannot be built here, or ""."""
    if lacking := [tool for tool in ("g++", "nm") if shutil.which(tool) is None]:
        return f"{' and '.join(lacking)} is missing; install g++, for example: apt install g++"
    if not (_torch() / "lib/libtorch_cuda.so").exists() or _header("cuda_runtime_api.h") is None:
        return "this torch has no CUDA build with headers; install torch from PyPI on Linux"
    return ""


def built(cache: Path) -> Path:
    """Folder of the library for this torch and these sources, built in `cache` if it is not there."""
    sources = sorted(path for path in HERE.rglob("*") if path.suffix in (".cpp", ".hpp", ".h", ".py"))
    content = b"".join(path.read_bytes() for path in sources) + version("torch").encode()
    folder = cache / f"pretended-{hashlib.sha256(content).hexdigest()[:16]}"
    if not (folder / LIBRARY).exists():
        build(folder)
    return folder


def build(folder: Path) -> None:
    """Compiles the library into `folder`.

    Raises:
        RuntimeError: with what the compiler said.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generated, new = folder / "generated.cpp", folder / f"new-{os.getpid()}.so"
    generated.write_text(_generated(), encoding="utf-8")
    runtime, cudnn = _header("cuda_runtime_api.h"), _header("cudnn_version.h")
    assert runtime is not None
    number = _cudnn_version(cudnn) if cudnn is not None else 90000
    command = ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", "-w", f"-DPRETENDED_CUDNN={number}"]
    command += [f"-I{HERE}", f"-I{runtime.parent}", *(str(HERE / name) for name in SOURCES), str(generated)]
    done = subprocess.run([*command, "-o", str(new), "-ldl"], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the pretended device cannot be compiled:\n{done.stderr[:2000]}")
    new.rename(folder / LIBRARY)


def environment(folder: Path, gpus: int = 1) -> dict[str, str]:
    """Environment variables of a process that sees the pretended devices, and none of the machine's own.

    `PRETENDED_BYTES` is the memory of each (80 GiB), `PRETENDED_FREE_BYTES` what it says is free. Every tensor gets
    memory of its own, zeros: reused memory would hold what was copied there before, and a minimum of labels, which no
    kernel computes, would be no label. CUDA graphs need PyTorch's allocator: leave that variable out for them.
    """
    kept = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    return {
        **kept,
        "LD_PRELOAD": str(folder / LIBRARY),
        "LD_LIBRARY_PATH": ":".join([str(folder), *filter(None, [kept.get("LD_LIBRARY_PATH")])]),
        "PRETENDED_GPUS": str(gpus),
        UNCACHED: "1",
    }


def _generated() -> str:
    """A function that counts its calls for every symbol that torch or Triton needs and the sources do not define."""
    needed: set[str] = set()
    for library in (_torch() / "lib").glob("lib*.so"):
        listed = subprocess.run(["nm", "-D", "--undefined-only", library], capture_output=True, text=True, check=True)
        names = (line.split()[-1].partition("@")[0] for line in listed.stdout.splitlines())
        needed |= {name for name in names if _NEEDED.fullmatch(name)}
    for source in (_torch().parent / "triton/backends/nvidia").glob("*.c"):  # compiled by Triton where it runs
        needed |= set(re.findall(r"\b(cu[A-Z]\w+)\(", source.read_text(encoding="utf-8")))
    text = "".join((HERE / name).read_text(encoding="utf-8") for name in SOURCES)
    defined = {name for pair in _DEFINED.findall(text) for name in pair}
    lines = [f'int {name}() {{ count("{name}", 1); return 0; }}' for name in sorted(needed - defined)]
    return "\n".join(["void count(const char* what, long by);", 'extern "C" {', *lines, "}"]) + "\n"


def _torch() -> Path:
    spec = find_spec("torch")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _header(name: str) -> Path | None:
    """Of the CUDA wheels that torch brings."""
    return next(iter(sorted((_torch().parent / "nvidia").glob(f"*/include/{name}"))), None)


def _cudnn_version(header: Path) -> int:
    found = dict(re.findall(r"#define CUDNN_(MAJOR|MINOR|PATCHLEVEL) (\d+)", header.read_text(encoding="utf-8")))
    return int(found["MAJOR"]) * 10000 + int(found["MINOR"]) * 100 + int(found["PATCHLEVEL"])


if __name__ == "__main__":
    build(Path(sys.argv[1]))
