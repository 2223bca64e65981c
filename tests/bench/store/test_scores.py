"""Every score that a run can write is described, and nothing else."""

import pytest

from bench import run_matrix
from bench.store.scores import SCORES

ESTIMATES = '''
from dataclasses import dataclass

import torch

from bench.registry import defenses


@defenses.register("estimates")
@dataclass(frozen=True)
class Estimates:
    """Says what the perturbation is, as D-VAE does."""

    def purify(self, train, ctx):
        ctx.keep("perturbation", torch.ones(train.images.shape))
        return train
'''


def test_the_table_holds_exactly_the_scores_of_a_run(tmp_path):
    plugin = tmp_path / "estimates.py"
    plugin.write_text(ESTIMATES, encoding="utf-8")
    frame = run_matrix(
        "ops",
        "estimates",
        "linear:epochs=1",
        preset="demo",
        dataset="shapes:train=64:test=32",
        plugins=[plugin],
        store=tmp_path / "store",
        data_root=tmp_path,
    )
    assert {name.removeprefix("score_") for name in frame if name.startswith("score_")} == set(SCORES)


@pytest.mark.parametrize("name", SCORES)
def test_a_score_is_described_in_words(name):
    score = SCORES[name]
    assert "_" not in f"{score.label} {score.explanation}"
    assert score.meaning.endswith(".")
    assert score.unit
    assert bool(score.direction) == (score.unit != "images"), "a number of images is neither good nor bad"
    assert sum(other.label == score.label for other in SCORES.values()) == 1
