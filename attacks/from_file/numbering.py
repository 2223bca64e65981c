"""Finds the image of the training set for each file of a poison folder, by the numbers in its name."""

import re
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UserError

FROM_ONE = "numbers from 1 as images from 0"
_NAME_THEM = "name the images 0.png, 1.png, ..."


@dataclass(frozen=True)
class Numbering:
    """Files by number, and how the number was found.

    Attributes:
        files: number -> file; the numbers may have gaps.
        read_as: what was not plain about it, or "".
    """

    files: dict[int, Path]
    read_as: str


def numbered(files: list[Path]) -> Numbering:
    """Files by the number in their names: `17.png`, `img_00017.png`, `17_adv.png`, `00017_label3.png`.

    Not in the order of a listing: as strings, 10 comes before 2, and every label would be wrong. Of several numbers in
    the names the one that tells the files apart is taken.

    Raises:
        UserError: for a name without number, names that end differently, and numbers that do not tell files apart.
    """
    found = {file: re.findall(r"\d+", file.stem) for file in files}
    if without := sorted(file for file, numbers in found.items() if not numbers):
        raise UserError(f"from-file: {without[0]} has no number in its name; {_NAME_THEM}")
    tails: dict[str, Path] = {}
    for file in sorted(files):
        tails.setdefault(re.split(r"\d+", file.stem)[-1], file)
    if len(tails) > 1:
        one, other = list(tails.values())[:2]
        raise UserError(
            f"from-file: the names in {one.parent} end differently, {one.name} and {other.name}; leave only the "
            f"poisoned images, or {_NAME_THEM}"
        )
    place = _place(found)
    by_number = {int(numbers[place]): file for file, numbers in found.items()}
    tail = next(iter(tails))
    example = files[0]
    if place == -1 and not tail:
        return Numbering(by_number, "")
    return Numbering(by_number, f"{example.name} as image {int(found[example][place])}")


def _place(found: dict[Path, list[str]]) -> int:
    """Position of the index among the numbers in each name, counted from the end: the one that differs in all names."""
    lengths = {len(numbers) for numbers in found.values()}
    places = range(-min(lengths), 0) if len(lengths) == 1 and len(found) > 1 else range(-1, 0)
    columns = {place: [int(numbers[place]) for numbers in found.values()] for place in places}
    telling = [place for place, column in columns.items() if len(set(column)) == len(found)]
    if not telling:
        one, other = _alike(found)
        raise UserError(
            f"from-file: {one.name} and {other.name} in {one.parent} have one index; remove one, or {_NAME_THEM}"
        )
    if len({tuple(columns[place]) for place in telling}) > 1:
        file, numbers = next(iter(found.items()))
        raise UserError(
            f"from-file: {file} may be image {' or '.join(str(int(numbers[place])) for place in telling)}; {_NAME_THEM}"
        )
    return telling[-1]


def _alike(found: dict[Path, list[str]]) -> tuple[Path, Path]:
    """Two files whose last number is the same."""
    seen: dict[int, Path] = {}
    for file, numbers in sorted(found.items()):
        if int(numbers[-1]) in seen:
            return seen[int(numbers[-1])], file
        seen[int(numbers[-1])] = file
    raise AssertionError("called for names that a number tells apart")


def from_zero(found: Numbering, count: int, folder: Path) -> Numbering:
    """The same, counted from 0: the files of a whole set that are numbered 1..count can only count from 1.

    Raises:
        UserError: for a number that no image has.
    """
    numbers = found.files
    if counts_from_one(found, count):
        return Numbering({number - 1: file for number, file in numbers.items()}, joined(found.read_as, FROM_ONE))
    if max(numbers) >= count:
        remedy = "; if they count from 1, rename them" if min(numbers) > 0 and max(numbers) == count else ""
        raise UserError(
            f"from-file: {folder} may hold the indices 0..{count - 1}, but {max(numbers)} is too large "
            f"({len(numbers)} file{'s' * (len(numbers) != 1)}){remedy}"
        )
    return found


def counts_from_one(found: Numbering, count: int) -> bool:
    """True if the numbers are 1..count without gaps."""
    return len(found.files) == count and min(found.files) == 1 and max(found.files) == count


def joined(*texts: str) -> str:
    """Those that say something."""
    return ", ".join(filter(None, texts))
