"""What a benchmark gets: its size, and ways to time ours beside a plain baseline, in turn, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch

from bench.api.engine import Engine

_ROUNDS = 5

Work = Callable[[], object]
Note = str | Callable[[float], str]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        part: what was timed.
        count: of images (or stages) in one call.
        seconds: of ours, a value a round.
        plain_seconds: of the baseline in the same rounds, for as many images; empty if there is none.
        target: what the value is compared with; None if the benchmark only reports.
        value: what is compared: `ratio` is plain / ours, `seconds` ours, `overhead` (ours - plain) / count.
        device: where both ran.
        threads: of the CPU.
        note: what else was measured.
    """

    part: str
    count: int
    seconds: list[float]
    plain_seconds: list[float]
    target: float | None
    value: Literal["ratio", "seconds", "overhead"]
    device: str
    threads: int
    note: str = ""

    @property
    def values(self) -> list[float]:
        """What is compared with the target, a value a round."""
        if self.value == "seconds":
            return self.seconds
        pairs = list(zip(self.seconds, self.plain_seconds, strict=True))
        if self.value == "overhead":
            return [(ours - plain) / self.count for ours, plain in pairs]
        return [plain / ours for ours, plain in pairs]

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the target."""
        if self.target is None:
            return None
        found = median(self.values)
        return found >= self.target if self.value == "ratio" else found <= self.target


class Run:
    """One benchmark's size, device and clock.

    Args:
        part: what is timed, in words.
        folder: for files.
        tiny: smallest sizes, one round: to see that the benchmark still runs.
        benchmark: pytest-benchmark's fixture, which then keeps the times of ours; None with `tiny`.

    Attributes:
        device: the GPU if there is one; a benchmark of what runs on the CPU everywhere sets it.
        row: the result, once measured.
    """

    def __init__(self, part: str, folder: Path, tiny: bool, benchmark: Any = None) -> None:
        self._part, self._tiny, self._benchmark = part, tiny, benchmark
        self.folder = folder
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.row: Row | None = None

    def size(self, full: int, tiny: int) -> int:
        """How much of something to work on."""
        return tiny if self._tiny else full

    def ratio(
        self, ours: Work, plain: Work, *, at_least: float | None, count: int, plain_count: int = 0, note: Note = ""
    ) -> Row:
        """Times both in turn; the ratio is plain / ours.

        Args:
            ours: the work on `count` images.
            plain: the same in the plain way.
            at_least: the ratio that is wanted.
            count: of images.
            plain_count: of the images the baseline works on, if fewer: its time is scaled up. Only for loops whose
                passes do not depend on each other.
            note: what else was measured, or what gets the median seconds of ours and says it.
        """
        seconds, plain_seconds = self._in_turn(ours, plain)
        scale = count / (plain_count or count)
        return self._keep(count, seconds, [scale * s for s in plain_seconds], at_least, "ratio", note)

    def seconds(self, ours: Work, *, at_most: float | None, note: Note = "") -> Row:
        """Times ours alone."""
        return self._keep(1, self._in_turn(ours, None)[0], [], at_most, "seconds", note)

    def overhead(self, ours: Work, plain: Work, *, at_most: float, count: int, note: Note = "") -> Row:
        """Times both in turn; the overhead is (ours - plain) / count, in seconds."""
        return self._keep(count, *self._in_turn(ours, plain), at_most, "overhead", note)

    def time(self, work: Work) -> float:
        """Seconds of one call, waiting for the device."""
        self._wait()
        start = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - start

    def _in_turn(self, ours: Work, plain: Work | None) -> tuple[list[float], list[float]]:
        plain_seconds: list[float] = []

        def before() -> None:
            if plain is not None:
                plain_seconds.append(self.time(plain))
            self._wait()

        def timed() -> None:
            in_its_precision()
            self._wait()

        def in_its_precision() -> None:
            with Engine.choose(self.device.type).applied():
                ours()

        if self._benchmark is None:
            before()
            return [self.time(in_its_precision)], plain_seconds
        self._benchmark.pedantic(timed, setup=before, rounds=_ROUNDS, warmup_rounds=1)
        return list(self._benchmark.stats.stats.data), plain_seconds[-_ROUNDS:]

    def _keep(
        self,
        count: int,
        seconds: list[float],
        plain_seconds: list[float],
        target: float | None,
        value: Literal["ratio", "seconds", "overhead"],
        note: Note,
    ) -> Row:
        text = note if isinstance(note, str) else note(median(seconds))
        threads = torch.get_num_threads()
        row = Row(self._part, count, seconds, plain_seconds, target, value, self.device.type, threads, text)
        self.row = row
        if self._benchmark is not None:
            self._benchmark.extra_info.update({**asdict(row), "values": row.values, "met": row.met})
        return row

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def table(rows: list[Row]) -> str:
    """Markdown: medians, with the smallest and the largest of the rounds behind what is compared."""
    head = ("part", "ours", "plain", "result: median (min-max)", "target", "met", "n", "device", "threads", "note")
    body = [
        (
            row.part,
            _duration(median(row.seconds)),
            _duration(median(row.plain_seconds)) if row.plain_seconds else "-",
            _spread(row),
            _target(row),
            {True: "yes", False: "no", None: "-"}[row.met],
            f"{row.count:,}",
            row.device,
            str(row.threads),
            row.note or "-",
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in [head, *body]) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in [head, *body]
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _spread(row: Row) -> str:
    show = (lambda value: f"{value:.1f}x") if row.value == "ratio" else _duration
    return f"{show(median(row.values))} ({show(min(row.values))}-{show(max(row.values))})"


def _target(row: Row) -> str:
    if row.target is None:
        return "-"
    return f"at least {row.target:g}x" if row.value == "ratio" else f"under {_duration(row.target)}"


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if abs(seconds) >= 1 else f"{1000 * seconds:.3g} ms"
