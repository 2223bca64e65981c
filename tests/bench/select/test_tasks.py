"""Tasks: fixed for ever, and recognized in cells."""

from dataclasses import replace
from hashlib import sha256

import pytest

from bench.errors import UserError
from bench.select import tasks
from bench.select.matrix import make_matrix
from bench.select.settings import Settings
from bench.select.sizes import known_sizes
from bench.store.results import CellResult, Component

CORE = "purify-bench-core-1"
FIXED = {
    CORE: ("051e2332071d3f35", "d2fba4a7f4b94bd6"),
    "purify-bench-cpu-1": ("065edad49cf8f845", "885388fa90ae4081"),
}


@pytest.mark.parametrize("name", tasks.names())
def test_a_task_never_changes(name):
    """If this fails, the results under this name are no longer comparable: give the new definition a new name.

    The second digest changes too if a component gets a parameter, for that changes the keys of its cells.
    """
    assert sha256((tasks.FOLDER / f"{name}.toml").read_bytes()).hexdigest()[:16] == FIXED[name][0]
    assert tasks.definition(name)[:16] == FIXED[name][1]
    assert known_sizes(tasks.read(name).dataset), "else a set of another size could have its name"


def test_only_defenses_are_a_choice():
    given = Settings(defenses="jpeg")
    layers = tasks.of_task(CORE, [given])
    assert layers == [tasks.read(CORE), given]
    matrix = make_matrix(layers)
    assert [one.name for one in matrix.defenses] == ["none", "jpeg"]
    assert [one.name for one in matrix.attacks] == ["none", "ar", "em", "lsp", "ops", "rem", "tap"]
    assert tasks.of_task(None, [given]) == [given]
    for field, value in {"attacks": "lsp", "seeds": 1, "preset": "demo", "parameters": {}}.items():
        with pytest.raises(UserError, match=f"^{field}: task {CORE} fixes it"):
            tasks.of_task(CORE, [replace(given, **{field: value})])
    with pytest.raises(UserError, match=f"did you mean {CORE}"):
        tasks.of_task("purify-bench-core-2", [])


def test_cells_are_of_a_task_if_all_but_the_defense_is_in_it():
    matrix = make_matrix([tasks.read(CORE)])
    none = Component("none", "none", {})

    def cell(attack=matrix.attacks[1].full_text, seed=0, spec="cifar10", preset="paper", **others):
        dataset = {"name": "cifar10", "train_images": 50_000, "test_images": 10_000, "num_classes": 10}
        dataset |= {"spec": spec, "shape": [3, 32, 32], **others}
        texts = [attack, "mine:strength=2", matrix.victims[0].full_text]
        preimage = [preset, "bfloat16", ["a", "b"], *texts, seed]
        return CellResult(
            "k", "failed", preset, dataset, none, none, none, seed, precision="bfloat16", preimage=preimage
        )

    assert tasks.task_of([cell(), cell(seed=2)]) == CORE
    others = [cell(seed=3), cell("lsp:eps=1"), cell(spec="cifar100"), cell(preset="fast"), replace(cell(), preimage=[])]
    others += [cell(name="mine"), cell(train_images=300), cell(shape=[3, 64, 64])]
    for other in others:
        assert tasks.task_of([cell(), other]) == ""
    assert tasks.task_of([]) == ""
    done = replace(cell(), status="done")
    assert tasks.task_label([done, cell(seed=2)]) == f"{CORE}, bfloat16: 1 of 21 cells"
    float32 = replace(done, precision="float32")
    assert tasks.task_label([done, float32]) == f"{CORE}, bfloat16 and float32: 2 of 42 cells"
    assert tasks.task_label([done, others[0]]) == ""
