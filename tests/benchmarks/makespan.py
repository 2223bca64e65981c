"""A paper matrix in virtual time: the schedule's jobs on so many workers, whose clock jumps from end to end."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bench.run.schedule import Schedule, Seconds, run_virtually
from bench.stages.jobs import STAGES, Job

MINUTE, HOUR = 60.0, 3600.0


@dataclass(frozen=True)
class PaperMatrix:
    """Components of a matrix with the seconds of their stages on one GPU.

    Attributes:
        attacks: seconds of a poison; `none` is clean data.
        defenses: seconds of a purification.
        trainings: seconds of a training with a defense that acts on it; every other takes `training`.
        training: seconds of a victim's training.
        victims: how many.
        seeds: how many; every stage depends on its seed.
    """

    attacks: dict[str, float] = field(
        default_factory=lambda: {
            "none": 1.0,
            "em": 20 * MINUTE,
            "rem": 4 * HOUR,
            "tap": 30 * MINUTE,
            "lsp": 5.0,
            "ar": 10.0,
            "ops": 20.0,
        }
    )
    defenses: dict[str, float] = field(
        default_factory=lambda: {
            "none": 0.0,
            "dvae": 3 * MINUTE,
            "iss-gray": 1.0,
            "iss-jpeg": 5.0,
            "iss-bdr": 1.0,
            "at": 0.0,
            "mixup": 0.0,
            "cutout": 0.0,
            "cutmix": 0.0,
        }
    )
    trainings: dict[str, float] = field(default_factory=lambda: {"at": 12 * MINUTE})
    training: float = MINUTE
    victims: int = 2
    seeds: int = 3

    def jobs(self) -> dict[str, Job]:
        """By key, in the order of a plan: all poisons, all purifications, all trainings."""
        found: list[Job] = []
        for seed, attack in itertools.product(range(self.seeds), self.attacks):
            poison = f"poison {attack} {seed}"
            found.append(_job(poison, seed, {}))
            for defense in self.defenses:
                purify = f"purify {attack} {defense} {seed}"
                found.append(_job(purify, seed, {"poison": poison}))
                for victim in range(self.victims):
                    inputs = {"poison": poison, "purify": purify}
                    found.append(_job(f"train {attack} {defense} {victim} {seed}", seed, inputs))
        return {job.key: job for stage in STAGES for job in found if job.stage == stage}

    def seconds(self, job: Job) -> float:
        """What a job takes."""
        stage, attack, *rest = job.key.split()
        if stage == "poison":
            return self.attacks[attack]
        return self.defenses[rest[0]] if stage == "purify" else self.trainings.get(rest[0], self.training)


def _job(key: str, seed: int, inputs: dict[str, str]) -> Job:
    return Job(key.split()[0], key, {}, key, "", seed, inputs)


def in_plan_order(jobs: Iterable[Job], seconds: Seconds, workers: int) -> float:
    """The same in the order of a schedule that knows no times."""
    return max(end for _, end, _ in run_virtually(Schedule(jobs), seconds, workers))


def in_waves(jobs: Iterable[Job], seconds: Seconds, workers: int) -> float:
    """The same with a barrier after each stage."""
    listed = list(jobs)
    total = 0.0
    for stage in STAGES:
        wave = [job for job in listed if job.stage == stage]
        total += in_plan_order(wave, seconds, workers)
    return total


def lower_bound(jobs: Sequence[Job], seconds: Seconds, workers: int) -> float:
    """No schedule is shorter: the longest chain of jobs, or all work on all workers."""
    ends: dict[str, float] = {}
    for job in jobs:  # inputs come first
        ends[job.key] = seconds(job) + max((ends[needed] for needed in job.inputs.values()), default=0.0)
    return max(*ends.values(), sum(map(seconds, jobs)) / workers)
