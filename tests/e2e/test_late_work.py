"""Plug-ins that put off their work until the clock has stopped and the checks are over: it is charged and checked."""

import json
import sys

import pytest
import torch

from bench import run_matrix
from bench.registry import attacks, defenses
from bench.stages.purify import _out_of_reach

LATE = '''
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from bench.api import Budget, ImageSet
from bench.registry import attacks, defenses
from torch.autograd import grad
from torch.nn.functional import cross_entropy

END = threading.Event()
POOL = ThreadPoolExecutor(1)
CHILDREN = []


@attacks.register("late-poison")
@dataclass(frozen=True)
class LatePoison:
    """Exceeds its budget after all."""

    budget = Budget("linf", 2 / 255)

    def poison(self, train, ctx):
        images = train.images ^ 1
        ctx.log_later(lambda: {"sum": float(images.zero_().sum())})
        return replace(train, images=images)


@defenses.register("late-write")
@dataclass(frozen=True)
class LateWrite:
    """Writes into its input after all."""

    def purify(self, train, ctx):
        ctx.log_later(lambda: {"sum": float(train.images.bitwise_xor_(1).sum())})
        return replace(train, images=train.images.clone())


@defenses.register("late-child")
@dataclass(frozen=True)
class LateChild:
    """Leaves a process."""

    def purify(self, train, ctx):
        CHILDREN.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
        return replace(train, images=train.images.clone())


@defenses.register("late-thread")
@dataclass(frozen=True)
class LateThread:
    """Leaves a thread, which writes into the result when the clock has stopped."""

    def purify(self, train, ctx):
        images = train.images.clone()
        END.clear()
        threading.Thread(target=lambda: END.wait() and images.zero_(), daemon=True, name="fit").start()
        return replace(train, images=images)


@defenses.register("late-pool")
@dataclass(frozen=True)
class LatePool:
    """Leaves an idle pool of threads when it trains."""

    def batch_loss(self, model, images_01, labels, ctx):
        ctx.state("pool", lambda: POOL.submit(int).result())
        return cross_entropy(model(images_01), labels)


@defenses.register("early-pool")
@dataclass(frozen=True)
class EarlyPool:
    """Ends what it starts."""

    def purify(self, train, ctx):
        with ThreadPoolExecutor(2) as pool:
            halves = list(pool.map(lambda half: half ^ 1, train.images.chunk(2)))
        subprocess.run([sys.executable, "-S", "-c", ""], check=True)
        return replace(train, images=torch.cat(halves))


class Unread(ImageSet):
    def __getattribute__(self, name):
        if name == "images":
            print("the work begins")
        return super().__getattribute__(name)


@defenses.register("late-read")
@dataclass(frozen=True)
class LateRead:
    """Computes its result when it is read."""

    def purify(self, train, ctx):
        return Unread(train.images, train.labels, train.info)


@defenses.register("late-report")
@dataclass(frozen=True)
class LateReport:
    """Computes what it logs after the training."""

    def purify(self, train, ctx):
        ctx.log_later(lambda: {"mean": float(train.images.double().mean())})
        return train

    def batch_loss(self, model, images_01, labels, ctx):
        ctx.state("begun", lambda: ctx.log_later(lambda: {"last": float(sum(w.sum() for w in model.parameters()))}))
        return cross_entropy(model(images_01), labels)


@defenses.register("late-hook")
@dataclass(frozen=True)
class LateHook:
    """Trains, and looks at test images, while the network is evaluated."""

    def batch_loss(self, model, images_01, labels, ctx):
        seen = ctx.state("seen", list)

        def train_and_look(module, inputs):
            if module.training:
                return
            seen.append(inputs[0])
            with torch.enable_grad():
                loss = cross_entropy(module.train()(images_01), labels)
                for weight, slope in zip(model.parameters(), grad(loss, list(model.parameters()))):
                    weight.data.sub_(slope)
            module.eval()

        ctx.state("hook", lambda: model.register_forward_pre_hook(train_and_look))
        ctx.state("log", lambda: ctx.log_later(lambda: {"seen": len(seen)}))
        return cross_entropy(model(images_01), labels)
'''

DEFENSES = (
    "late-write",
    "late-read",
    "late-report",
    "late-hook",
    "late-child",
    "late-thread",
    "late-pool",
    "early-pool",
)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """The cells of one run, by attack and defense, and the folder of the store."""
    folder = tmp_path_factory.mktemp("late")
    (folder / "late.py").write_text(LATE)
    frame = run_matrix(
        "late-poison",
        ",".join(DEFENSES),
        "linear:epochs=2",
        preset="demo",
        dataset="shapes:train=64:test=32",
        plugins=[folder / "late.py"],
        store=folder / "store",
    )
    yield frame.set_index(["attack", "defense"]), folder / "store"
    late = sys.modules[defenses["late-thread"].cls.__module__]
    late.END.set()
    late.POOL.shutdown()
    for process in late.CHILDREN:
        process.kill()
        process.wait()
    attacks._entries.pop("late-poison")
    for name in DEFENSES:
        defenses._entries.pop(name)


@pytest.mark.parametrize(
    ("attack", "defense", "message"),
    [
        ("late-poison", "none", "exceeds its budget"),
        ("none", "late-write", "modified its input in place"),
        ("none", "late-read", "returned Unread, expected an ImageSet"),
        ("none", "late-child", "'late-child' left a process running"),
        ("none", "late-thread", "'late-thread' left a thread running (fit); end it before returning"),
        ("none", "late-pool", "'late-pool' left a thread running (ThreadPoolExecutor"),
    ],
)
def test_what_is_done_late_is_checked(ended, attack, defense, message):
    cell = ended[0].loc[(attack, defense)]
    assert cell["status"] == "failed"
    assert message in cell["error_message"]


def test_what_is_logged_late_is_a_phase_of_the_cost(ended):
    frame, store = ended
    row = frame.loc[("none", "late-report")]
    cell = json.loads((store / "cells" / f"{row['key']}.json").read_text())
    for stage, logged in (("purify", "mean"), ("train", "last")):
        assert logged in cell["logs"][stage]
        assert 0 < cell["costs"][stage]["phases"]["report"] <= cell["costs"][stage]["wall_seconds"]
    phases = cell["costs"]["train"]["phases"]
    assert row["train_seconds"] == pytest.approx(phases["train"] + phases["change_recipe"] + phases["report"])


def test_a_hook_of_a_training_sees_no_evaluation(ended):
    frame, store = ended
    row, plain = frame.loc[("none", "late-hook")], frame.loc[("none", "none")]
    assert json.loads((store / "cells" / f"{row['key']}.json").read_text())["logs"]["train"]["seen"] == 0
    assert row["clean_test_accuracy"] == plain["clean_test_accuracy"]


def test_threads_and_processes_that_have_ended_are_welcome(ended):
    assert ended[0].loc[("none", "early-pool"), "status"] == "done"


def test_what_is_written_into_a_result_late_is_lost(random_set, make_context):
    given, ctx = random_set(4), make_context()
    assert torch.equal(_out_of_reach(given, ctx).images, given.images)
    assert _out_of_reach(given, ctx).images.data_ptr() != given.images.data_ptr()
    ctx.resident_bytes = 1  # too large to be copied
    assert _out_of_reach(given, ctx) is given
