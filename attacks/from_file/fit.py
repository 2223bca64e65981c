"""Checks that a poison belongs to a training set: budget, order, broken classes. Explains the differences."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attacks.from_file.found import RESTORED, Found, by_class, described, without_classes
from bench.api import Budget, DataInfo, ImageSet
from bench.errors import UserError

_CHUNK = 256
_SAMPLE = 64
_SEARCHED = 20_000  # clean images among which the one that belongs to an entry is looked for
_ALIKE = 0.5
_SAME = 0.9
_OWN = 0.8  # share of images more like the clean one at their position than like another


@dataclass(frozen=True)
class Measured:
    """Of the images at `rows`: sizes of the perturbation and what else tells whether they belong there.

    Attributes:
        rows: int64 (n,), positions.
        sizes: by norm, float64 (n,).
        flat: bool (n,), the poisoned image has one color and the clean one has not.
        alike: float64 (n,), correlation of the poisoned with the clean image.
        class_share: of the energy of the perturbation, the part that is one pattern per class; NaN without a poison.
        sorted_share: the same if the entries were sorted by class.
    """

    rows: Tensor
    sizes: dict[str, Tensor]
    flat: Tensor
    alike: Tensor
    class_share: float
    sorted_share: float

    def only(self, chosen: Tensor) -> "Measured":
        """Of these images, bool (n,); the shares stay those of all."""
        sizes = {norm: values[chosen] for norm, values in self.sizes.items()}
        rows, flat, alike = (values[chosen] for values in (self.rows, self.flat, self.alike))
        return replace(self, rows=rows, sizes=sizes, flat=flat, alike=alike)


def check(found: Found, train: ImageSet, rows: Tensor, budget: Budget) -> dict[str, float | str]:
    """Measured values, to be logged.

    Args:
        found: the poison.
        train: the clean set.
        rows: int64, ascending: the images that may be poisoned; those that `found` does not hold are left out.
        budget: what the user declares.

    Raises:
        UserError: if it exceeds the budget (broken classes, another order, another norm), changes nothing, or is
            noise whose class patterns stand in another order.
    """
    measured = measure(found, train, rows[found.entry_of[rows] >= 0])
    if not len(measured.rows):
        raise UserError(f"from-file: {found.path} holds none of the images to be poisoned; change classes")
    flat = _constant(measured, budget, train)
    if problems := list(_problems(found, train, measured, flat, budget)):
        raise UserError(f"from-file: {found.path} {'. The rest '.join(problems)}")
    changed = int((measured.sizes["l0"] > 0).sum())
    if not changed:
        raise UserError(f"from-file: {found.path} changes none of the images of {train.info.name}; it holds no poison")
    if found.content == "noise" and measured.class_share < _ALIKE and measured.sorted_share > _SAME:
        raise UserError(
            f"from-file: {found.path}: one pattern per class makes up {measured.class_share:.2f} of its noise in the "
            f"order of {train.info.name}, but {measured.sorted_share:.2f} if its entries are sorted by class; "
            f"{RESTORED}"
        )
    share = measured.class_share
    wise = "one pattern per class" if share > _SAME else "a pattern for each image"
    return {
        **found.said,
        **({"read_as": "; ".join(found.notes)} if found.notes else {}),
        "images_in_file": f"{len(found.rows)} of {len(train)}",
        "changed_images": changed,
        **({"constant_images": by_class(measured.rows, flat, train.labels)} if flat.any() else {}),
        "clean_correlation": float(measured.alike.nanmedian()),
        "wise": f"{wise}: class patterns hold {share:.2f} of its energy",
    }


def correlation(images: Tensor, others: Tensor) -> Tensor:
    """Pearson correlation of each image with the other of its pair, float (n,); NaN where one has a single value."""
    one, other = (part.flatten(1) - part.flatten(1).mean(dim=1, keepdim=True) for part in (images, others))
    return (one * other).sum(dim=1) / (one.norm(dim=1) * other.norm(dim=1))


def measure(found: Found, train: ImageSet, rows: Tensor) -> Measured:
    """One pass over the images at these positions."""
    sizes: dict[str, list[Tensor]] = {"linf": [], "l2": [], "l0": []}
    flat, alike = [], []
    order = torch.argsort(train.labels, stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    sorted_labels = train.labels[order]
    entries = math.prod(train.info.shape)
    sums = torch.zeros(2, train.info.num_classes, entries, dtype=torch.float64)
    energy = 0.0
    for here in torch.split(rows, _CHUNK):
        clean, poisoned = train.images[here], found.poisoned(train, here)
        for norm, parts in sizes.items():
            parts.append(Budget(norm, 0.0).measure(clean, poisoned))
        flat.append(_flat(poisoned) & ~_flat(clean))
        alike.append(correlation(poisoned.double(), clean.double()))
        delta = (poisoned.double() - clean.double()).flatten(1)
        energy += float(delta.square().sum())
        for total, labels in zip(sums, (train.labels[here], sorted_labels[here]), strict=True):
            total.index_add_(0, labels, delta)
    shares = []
    for total, labels in zip(sums, (train.labels[rows], sorted_labels[rows]), strict=True):
        counts = torch.bincount(labels, minlength=len(total)).clamp(min=1)
        shares.append(float((total.square().sum(dim=1) / counts).sum()) / energy if energy else math.nan)
    empty = torch.zeros(0)
    joined = {norm: torch.cat(parts or [empty]) for norm, parts in sizes.items()}
    return Measured(rows, joined, torch.cat(flat or [empty]), torch.cat(alike or [empty]), *shares)


def _flat(images_u8: Tensor) -> Tensor:
    planes = images_u8.flatten(2)
    return (planes == planes[:, :, :1]).flatten(1).all(dim=1)


def _constant(measured: Measured, budget: Budget, train: ImageSet) -> Tensor:
    """bool (n,): images of one color that no poison within the budget makes of the clean ones."""
    return measured.flat if budget.norm == "none" else measured.flat & _over(measured, budget, train)


def _over(measured: Measured, budget: Budget, train: ImageSet) -> Tensor:
    return measured.sizes[budget.norm] > budget.allowed(train.info.shape)


def _problems(found: Found, train: ImageSet, measured: Measured, flat: Tensor, budget: Budget) -> Iterator[str]:
    """First constant images, then what is wrong with the others: those correlate with nothing and tell no order."""
    bounded = budget.norm != "none"
    broken = flat if bounded else flat & _mostly(flat, train.labels[measured.rows])
    if broken.any():
        yield _why_broken(found, train, measured.rows, broken)
    others = measured.only(~flat)
    suspect = _over(others, budget, train) if bounded else _unlike(others, train)
    if suspect.any():
        why = _why_foreign(found, train, others, suspect, bounded=bounded)
        if why or bounded:
            yield why or _why_over(others, suspect, budget, train)


def _unlike(measured: Measured, train: ImageSet) -> Tensor:
    """bool (n,): images unlike the clean ones, in classes of which most are."""
    unlike = measured.alike < _ALIKE
    return unlike & _mostly(unlike, train.labels[measured.rows])


def _mostly(those: Tensor, labels: Tensor) -> Tensor:
    """bool (n,): images of classes more than half of which are among those."""
    counts = torch.bincount(labels)
    return (2 * torch.bincount(labels[those], minlength=len(counts)) > counts)[labels]


def _why_broken(found: Found, train: ImageSet, rows: Tensor, constant: Tensor) -> str:
    """Classes that hold constant images, and the remedy.

    Args:
        found: the poison.
        train: the clean set.
        rows: int64 (n,), positions.
        constant: bool (n,), of one color where the clean image is not.
    """
    color = "of one color" if bool(found.poisoned(train, rows[constant][:_CHUNK]).any()) else "black"
    return (
        f"is broken: images are {color}, {by_class(rows, constant, train.labels)}; get a repaired file"
        f"{without_classes(train.labels[rows[constant]].unique().tolist(), train.info.num_classes)}"
    )


def _why_foreign(found: Found, train: ImageSet, measured: Measured, suspect: Tensor, *, bounded: bool) -> str:
    """Reason why these images do not belong to the set (another order or arrangement); "" if they may."""
    rows = measured.rows[suspect]
    alike = float(measured.alike[suspect].nanmedian())
    if found.content == "images" and not alike > _SAME and (why := _misplaced(found, train, rows, alike, bounded)):
        return (
            f"does not fit {train.info.name}: {described(rows, train.labels)}, are unlike the clean images at their "
            f"positions (median correlation {alike:.2f}); {why}"
        )
    return ""


def _why_over(measured: Measured, over: Tensor, budget: Budget, train: ImageSet) -> str:
    return (
        f"exceeds its budget {budget} in {described(measured.rows[over], train.labels)}; measured: "
        f"{_sizes(measured)}; {_fitting(measured, budget, train.info)}"
    )


def _sizes(measured: Measured) -> str:
    linf, l2, l0 = (measured.sizes[norm] for norm in ("linf", "l2", "l0"))
    return (
        f"linf at most {float(linf.max()) * 255:g}/255, l2 at most {float(l2.max()):.4g} (mean "
        f"{float(l2.mean()):.4g}), l0 at most {int(l0.max())} pixels"
    )


def _fitting(measured: Measured, budget: Budget, info: DataInfo) -> str:
    """Declaration that would fit: the norm in which all images have nearly the same size."""
    linf, l2, l0 = (measured.sizes[norm] for norm in ("linf", "l2", "l0"))
    pixels, levels = int(l0.max()), round(float(linf.max()) * 255)
    if pixels <= max(1, info.shape[1] * info.shape[2] // 100):
        return f"only few pixels change: set norm=l0:eps={pixels}"
    steady = (linf == linf.max()).double().mean() >= _SAME  # an L-inf poison reaches its bound in every image
    if steady or (budget.norm == "linf" and not _even(l2)):
        return f"set norm=linf:eps={levels}/255, if the poison is meant to be so large"
    largest = float(l2.max())
    radius = round(largest, 1)
    if radius == 0 or largest > Budget("l2", radius).allowed(info.shape):
        radius = math.ceil(largest * 1000) / 1000
    return f"it looks like an L2 poison: set norm=l2:eps={radius:g}"


def _even(sizes: Tensor) -> bool:
    """True if most images have nearly the same size."""
    middle = float(sizes.median())
    return float(((sizes - middle).abs() <= 0.1 * middle).double().mean()) >= _SAME


def _misplaced(found: Found, train: ImageSet, rows: Tensor, alike: float, bounded: bool) -> str:
    """Reason why images are unlike the clean ones at their positions, and the remedy; "" if they are like them."""
    some = rows[torch.linspace(0, len(rows) - 1, min(len(rows), _SAMPLE)).long()]
    poisoned = found.poisoned(train, some).double()
    clean = train.images[some].double()
    for view, text in _VIEWS.items():
        if float(correlation(_view(view, poisoned), clean).nanmedian()) > max(_SAME, alike + 0.05):
            return text
    if alike >= _ALIKE:
        return ""
    nearest, likeness = _nearest(poisoned, train)
    if float((likeness > _SAME).double().mean()) < _ALIKE:
        other = train.images[(some + len(train) // 2) % len(train)].double()
        own = (correlation(poisoned, clean) > correlation(poisoned, other)).double().mean()  # 0.5 for strangers
        if not bounded and float(own) > _OWN:
            return ""
        return "they are images of another data set, of another split, or changed beyond recognition"
    example = f"the poison at position {int(some[0])} belongs to image {int(nearest[0])}"
    entries = found.entry_of[some].argsort()
    classes = train.labels[nearest[entries]]
    if len(found.rows) == len(train) and bool((classes.diff() >= 0).all()):
        return f"they stand in another order, sorted by class ({example}); {RESTORED}"
    as_text = torch.tensor(sorted(range(len(train)), key=str))
    if torch.equal(some - 1, nearest):
        return f"they count from 1 ({example}); subtract 1 from their numbers"
    if torch.equal(as_text[some], nearest):
        return f"they were listed as text: 0, 1, 10, 100, ... ({example}); sort the names as numbers"
    return f"they stand in another order ({example}); sort them as the training set"


def _nearest(poisoned: Tensor, train: ImageSet) -> tuple[Tensor, Tensor]:
    """The clean image most like each of these, by its thumbnail: positions and correlations (n,)."""
    wanted = _thumbnails(poisoned)
    best = torch.full((len(wanted),), -1.0, dtype=torch.float64)
    where = torch.zeros(len(wanted), dtype=torch.int64)
    for start in range(0, min(len(train), _SEARCHED), _CHUNK):
        value, index = (wanted @ _thumbnails(train.images[start : start + _CHUNK].double()).T).max(dim=1)
        better = value > best
        best, where = torch.where(better, value, best), torch.where(better, index + start, where)
    return where, best


def _thumbnails(images: Tensor) -> Tensor:
    """Unit vectors of 8x8 images (n, C*64), without their mean."""
    small = torch.nn.functional.adaptive_avg_pool2d(images, 8).flatten(1)
    return torch.nn.functional.normalize(small - small.mean(dim=1, keepdim=True), dim=1)


_VIEWS = {
    "bgr": "their color channels are in reverse order: save images[:, ::-1], or [..., ::-1] if the channels come last",
    "transposed": "height and width are exchanged; transpose them",
    "reshaped": "they were reshaped where they should have been transposed; use transpose(0, 3, 1, 2)",
    "reshaped back": "they were reshaped where they should have been transposed; use transpose(0, 2, 3, 1)",
    "mirrored": "they are mirrored; save them unaugmented",
    "upside down": "they stand upside down; flip them",
    "inverted": "they are inverted; save 255 - images",
}


def _view(name: str, images: Tensor) -> Tensor:
    n, channels, height, width = images.shape
    if name == "reshaped":
        return images.reshape(n, height, width, channels).permute(0, 3, 1, 2)
    if name == "reshaped back":
        return images.permute(0, 2, 3, 1).reshape(n, channels, height, width)
    if name == "transposed":
        return images.transpose(2, 3) if height == width else images
    if name == "inverted":
        return -images
    return images.flip({"bgr": 1, "mirrored": 3, "upside down": 2}[name])
