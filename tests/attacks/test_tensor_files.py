from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from attacks.tensor_files import read_tensors, stacked
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
