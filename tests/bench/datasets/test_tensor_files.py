import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import Subset, TensorDataset

from bench.datasets.tensor_files import conversion, read_named, read_tensors, stacked
from bench.errors import UserError

PARTS = list(torch.arange(12 * 3 * 2, dtype=torch.float64).view(12, 3, 2))
NAMES = {str(number): part.clone() for number, part in reversed(list(enumerate(PARTS)))}


def _save(container: object, folder: Path) -> Path:
    torch.save(container, folder / "parts.pt")
    return folder / "parts.pt"


@pytest.mark.parametrize(
    "container",
    [
        PARTS,
        tuple(PARTS),
        dict(reversed(list(enumerate(PARTS)))),
        NAMES,
        {number + 1: part for number, part in enumerate(PARTS)},
    ],
    ids=["list", "tuple", "integers", "digits", "from one"],
)
def test_numbered_tensors_of_a_torch_file_stack_by_number(tmp_path, container: object) -> None:
    found = read_tensors(_save(container, tmp_path))
    assert list(found) == [""]
    assert torch.equal(found[""], torch.stack(PARTS))


@pytest.mark.parametrize("suffix", ["npy", "npz", "safetensors", "pt", "pth"])
def test_a_pointer_of_git_lfs_is_named_and_no_pickle_to_convert(tmp_path, suffix: str) -> None:
    path = tmp_path / f"poison.{suffix}"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 614400128\n")
    with pytest.raises(UserError, match=rf"^\S*poison.{suffix} is a Git LFS pointer .* `git lfs pull`$"):
        read_tensors(path)


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_numbered_tensors_of_other_files_stack_too(tmp_path, suffix: str) -> None:
    path = tmp_path / f"parts.{suffix}"
    if suffix == "npz":
        np.savez(path, **{name: part.numpy() for name, part in NAMES.items()})
    else:
        save_file(NAMES, path)
    assert torch.equal(read_tensors(path)[""], torch.stack(PARTS))


def test_named_tensors_stay_named_until_they_are_stacked_in_the_order_of_the_file(tmp_path) -> None:
    path = _save({"ship": PARTS[0], "cat": PARTS[1], "epoch": 3}, tmp_path)
    found = read_tensors(path)
    assert list(found) == ["ship", "cat"]
    assert torch.equal(stacked(found, path), torch.stack(PARTS[:2]))


@pytest.mark.parametrize("container", [[PARTS[0]], {"0": PARTS[0], "epoch": 3}], ids=["list", "dict"])
def test_a_single_tensor_stays_as_it_is(tmp_path, container: object) -> None:
    assert torch.equal(read_tensors(_save(container, tmp_path))[""], PARTS[0])


@pytest.mark.parametrize(
    ("container", "message"),
    [
        ([PARTS[0], PARTS[0].T], r"2 tensors of different shapes, \(2, 3\), \(3, 2\), which do not stack"),
        ({0: PARTS[0], 2: PARTS[1]}, "named 0 to 2, so that the place of each is unclear; name them 0, 1, 2"),
        ([PARTS[0], "text", PARTS[1]], "named 0 to 2"),
        ({5: PARTS[0], 6: PARTS[1]}, "named 5 to 6"),
        ([], "holds no numeric array"),
    ],
)
def test_what_does_not_stack_is_refused(tmp_path, container: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_tensors(_save(container, tmp_path))


def test_a_list_with_objects_is_never_unpickled(tmp_path) -> None:
    with pytest.raises(UserError, match="never unpickled"):
        read_tensors(_save([PARTS[0], Path("x")], tmp_path))


def test_types_mix() -> None:
    mixed: dict[str, Tensor] = {"a": PARTS[0], "b": PARTS[1].float()}
    assert stacked(mixed, Path("x.pt")).dtype == torch.float64


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.float32, np.float64, np.float16, np.int64])
@pytest.mark.parametrize("container", [lambda a: a, list, lambda a: {"noise": a}], ids=["array", "list", "dict"])
def test_numpy_arrays_saved_by_torch_are_read(tmp_path, container, dtype) -> None:
    array = np.arange(24).reshape(4, 3, 2).astype(dtype)
    found = read_tensors(_save(container(array), tmp_path))
    assert next(iter(found.values())).numpy().dtype == dtype
    assert np.array_equal(next(iter(found.values())).numpy(), array)


class _Marker:
    ran = False

    def __reduce__(self) -> tuple[object, ...]:
        return (setattr, (_Marker, "ran", True))


def _structured() -> object:
    return np.zeros(2, dtype=[("a", "O"), ("b", "f4")])


@pytest.mark.parametrize(
    "content",
    [np.array([_Marker(), None]), np.array([{}, []], dtype=object), _structured(), np.array(["a"]), np.array([1j])],
    ids=["code", "objects", "structure", "text", "complex"],
)
def test_other_numpy_arrays_saved_by_torch_are_not_unpickled(tmp_path, content: object) -> None:
    with pytest.raises(UserError, match="never unpickled"):
        read_tensors(_save(content, tmp_path))
    assert not _Marker.ran


@pytest.mark.parametrize("suffix", [".pkl", ".pt", ".npy"])
@pytest.mark.parametrize(
    ("content", "written", "expected"),
    [
        (np.arange(6, dtype=np.int8).reshape(3, 2), "-converted.npy", np.arange(6).reshape(3, 2)),
        ([np.zeros(2), np.ones(2)], "-converted.npy", np.array([[0, 0], [1, 1]])),
        ({1: np.ones(2), 0: np.zeros(2)}, "-converted.npz", np.array([[0, 0], [1, 1]])),
    ],
    ids=["array", "list", "dict"],
)
def test_the_three_lines_of_a_conversion_run(
    tmp_path, monkeypatch, suffix: str, content, written: str, expected
) -> None:
    path = tmp_path / f"rem{suffix}"
    if suffix == ".npy":
        np.save(path, np.array(content, dtype=object) if isinstance(content, dict) else content, allow_pickle=True)
    elif suffix == ".pt":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    monkeypatch.chdir(tmp_path)
    _, *code = conversion(path, "is a pickle").splitlines()
    assert len(code) == 3
    exec("\n".join(line.strip() for line in code), {})
    assert np.array_equal(read_tensors(tmp_path / f"rem{written}")[""].numpy(), expected)


def test_the_lines_printed_for_data_sets_and_object_arrays_run(tmp_path) -> None:
    """Pasted into one fresh process, which imports torch once."""
    images, labels = torch.arange(24, dtype=torch.uint8).view(2, 3, 2, 2), torch.tensor([1, 0])
    torch.save(TensorDataset(images, labels), tmp_path / "set.pt")
    torch.save(Subset(TensorDataset(images, labels), [1, 0]), tmp_path / "part.pth")
    objects = np.empty(2, dtype=object)
    objects[:] = list(images.numpy())
    np.save(tmp_path / "list.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "dict.npz", noise=objects, labels=labels.numpy())
    code = []
    for name in ("set.pt", "part.pth", "list.npy", "dict.npz"):
        with pytest.raises(UserError, match=r"is never unpickled.* run these three lines of Python") as refused:
            read_named(tmp_path / name)
        _, *lines = str(refused.value).splitlines()
        assert len(lines) == 3
        code += [line.removeprefix("    ") for line in lines]
    subprocess.run([sys.executable, "-c", "\n".join(code)], cwd=tmp_path, check=True)
    for name, order in (("set", [0, 1]), ("part", [1, 0])):
        found = read_named(tmp_path / f"{name}-converted.npz")
        assert torch.equal(found["images"], images[order])
        assert torch.equal(found["labels"], labels[order])
    assert torch.equal(read_tensors(tmp_path / "list-converted.npy")[""], images)
    assert torch.equal(read_named(tmp_path / "dict-converted.npz")["noise"], images)


class _BareDtype:
    def __reduce__(self) -> tuple[object, ...]:
        return (np.dtype, ("O8",))


def test_a_dtype_that_is_no_number_is_refused_by_itself(tmp_path) -> None:
    with pytest.raises(UserError, match="never unpickled"):
        read_tensors(_save({"noise": torch.zeros(2), "type": _BareDtype()}, tmp_path))
