"""The stage `poison`: an attack on the clean training images."""

from __future__ import annotations

from bench.measure import diagnosis
from bench.measure.published_separability import published_separability
from bench.measure.spectrum import spectrum_scores
from bench.registry import attacks
from bench.select.spec import select
from bench.stages.crafting import check_fit, craft
from bench.stages.invariants import check_budget, untouched
from bench.stages.made import Made, made_images
from bench.stages.task import Task


def poison(task: Task) -> Made:
    """Crafts the poison and measures it; the mask of the images offered to the attack is stored with it."""
    attack = select(attacks, task.job.component)[0]
    budget = attack.component.budget
    clean = task.dataset().train
    if task.session.elsewhere:  # the plan asked another machine
        check_fit(attack.component, clean)
    ctx, meter = task.context(attack.name)
    with untouched(clean, f"attack {attack.name!r}", task.known("dataset")), meter:
        poisoned, mask = craft(attack.component, clean, ctx)
        logs = ctx.recorded()
    check_budget(attack.name, budget, poisoned, clean, mask)
    published, shuffled = published_separability(poisoned.images, clean.images, clean.labels, mask, ctx.device)
    payload = {
        "scores": {
            **diagnosis.poison_scores(poisoned.images, clean.images, clean.labels, mask, budget),
            **{f"poison_{n}": v for n, v in spectrum_scores(poisoned.images, clean.images, mask).items()},
            "poison_published_separability": published,
            "poison_shuffled_separability": shuffled,
        },
        "logs": logs,
        "budget": str(budget),
    }
    alias_of = "dataset" if poisoned is clean else ""
    return made_images(poisoned, clean, alias_of, meter.cost(), payload, {"mask": mask, **ctx.kept})
