"""Values of one cell that no run gives, whatever its manifests say."""

from __future__ import annotations

from bench.errors import UserError
from bench.portable.coordinates import short
from bench.select.sizes import known_sizes
from bench.store.results import CellResult


def plausible(cell: CellResult) -> str:
    """The first value of a cell that no run gives."""
    if problem := _sizes(cell):
        return problem
    if cell.status != "done":
        return "" if cell.error and "message" in cell.error else "error: a cell that is not finished says why"
    right = (cell.clean_test_accuracy or 0.0) * (cell.test_images or 0)
    images = cell.dataset["test_images"]
    if cell.test_images != images:
        return f"test_images: {cell.test_images}, the data set has {images}"
    if abs(right - round(right)) > 1e-6 * max(right, 1.0):
        return f"clean_test_accuracy: {cell.clean_test_accuracy} of {images} images is {right:g} images"
    if [point["epoch"] for point in cell.curve] != list(range(1, len(cell.curve) + 1)):
        return "curve: has no point for each epoch from 1"
    if bool(cell.curve) != ("recipe" in cell.victim.extra):
        return "curve: has points if the victim has a recipe, and none if it is fitted at once"
    if cell.curve and (last := cell.curve[-1].get("clean_test_accuracy")) != cell.clean_test_accuracy:
        return f"clean_test_accuracy: {cell.clean_test_accuracy}, the curve ends at {last}"
    for name in ("clean_test_accuracy", "train_accuracy"):
        if wrong := [value for point in cell.curve if not 0 <= (value := point.get(name) or 0) <= 1]:
            return f"curve: {name} {wrong[0]} is not in 0..1"
    return ""


def _sizes(cell: CellResult) -> str:
    """The first size that the data set does not have, or that is larger than the set; no data is read."""
    said = {name: cell.dataset[name] for name in ("train_images", "test_images", "num_classes", "shape")}
    if len(said["shape"]) != 3 or said["num_classes"] < 2 or said["train_images"] < 1:
        return "dataset: has no shape of three sizes, no two classes or no training image"
    try:
        known = known_sizes(cell.dataset["spec"])
    except (UserError, ValueError) as error:
        return f"dataset.spec: {str(error)[:200]}"
    for name, value in known.items():
        if said[name] != value:
            return f"dataset.{name}: {short(said[name])}, {short(cell.dataset['spec'])} has {value}"
    if (offered := cell.scores.get("poisoned_images") or 0) > said["train_images"]:
        return f"scores.poisoned_images: {offered}, the data set has {said['train_images']} training images"
    return ""
