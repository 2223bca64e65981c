"""Defenses that remember: each kind of memory is found, and what is merely a table is not."""

import subprocess
import sys
import tempfile
import textwrap

import pytest
import torch

from bench.check.component import tiny
from bench.check.kept_state import kept
from bench.errors import ContractError
from bench.registry import defenses, load_plugin
from bench.select.spec import select

HEAD = """
import functools
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from bench.registry import defenses

WORK = "import time\\nwhile time.process_time() < 0.4:\\n    pass"
DAEMON = "import os, time\\nif os.fork(): os._exit(0)\\nos.setsid()\\ntime.sleep(5)"
MEMO = {}
LAST = None
STORE = Path("FILE")


def work(seconds=0.3):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def remembers(images, memo=[]):
    memo.append(images.sum())


@functools.cache
def table(size):
    return torch.arange(size)


@functools.cache
def by_content(content):
    return torch.zeros(3)


class Fitted:
    shift = None


"""
TAIL = '''
@defenses.register("forgets", source="x", deterministic=True)
@dataclass(frozen=True)
class Forgets:
    """A test."""

METHODS
'''
BODIES = {
    "global": ("global LAST\nLAST = train.images + 0\nreturn train", "LAST changed"),
    "dictionary": ("MEMO.setdefault(int(train.images.sum()), 1)\nreturn train", "MEMO"),
    "default": ("remembers(train.images)\nreturn train", "remembers.__defaults__"),
    "cache": ("by_content(int(train.images.sum()))\nreturn train", "by_content changed"),
    "class": ("Fitted.shift = train.images.float().mean()\nreturn train", "Fitted.shift"),
    "function": ("work.fitted = train.images.float().mean()\nreturn train", "work.__dict__"),
    "first images only": (
        "MEMO.setdefault('fit', train.images[:1])\nreturn replace(train, images=train.images ^ MEMO['fit'])",
        "another result in a process that has worked on other images",
    ),
    "file": (
        "name = STORE.with_suffix(f'.{int(train.images[:, :, 0, 0].sum())}')\n"
        "name.exists() or work()\nname.touch()\nreturn train",
        "images it has seen",
    ),
    "once for all": ("'fit' in MEMO or work()\nMEMO['fit'] = 1\nreturn train", "computes once what every stage"),
    "foreign module": (
        "hasattr(torch, 'forgets') or work()\ntorch.forgets = 1\nreturn train",
        "computes once what every stage",
    ),
    "file at home": (
        "name = Path.home() / 'forgets'\nname.exists() or work()\nname.touch()\nreturn train",
        "computes once what every stage",
    ),
    "temporary file": (
        "name = Path(tempfile.gettempdir()) / 'forgets'\nname.exists() or work()\nname.touch()\nreturn train",
        "computes once what every stage",
    ),
    "in a child": (
        "'fit' in MEMO or subprocess.run([sys.executable, '-c', WORK], check=True)\nMEMO['fit'] = 1\nreturn train",
        "computes once what every stage",
    ),
    "cheap for few images": (
        "'fit' in MEMO or work(len(train) * 1e-4)\nMEMO['fit'] = 1\nreturn train",
        "computes once what every stage",
    ),
    "file elsewhere": (
        "STORE.exists() or work()\nSTORE.touch()\nreturn train",
        "leaves a file outside of ctx.scratch",
    ),
    "in the check of its data": (
        "def check_fit(self, train):\n    self.work(0, 0)\n"
        "def work(self, info, images):\n    'fit' in MEMO or work()\n    MEMO['fit'] = 1\n"
        "def purify(self, train, ctx):\n    return train",
        "computes once what every stage",
    ),
    "in its number of passes": (
        "@property\ndef step_passes(self):\n    'fit' in MEMO or work()\n    MEMO['fit'] = 1\n    return 3\n"
        "def batch_loss(self, model, images_01, labels, ctx):\n    return cross_entropy(model(images_01), labels)",
        "computes once what every stage",
    ),
    "in what it logs later": (
        "ctx.log_later(lambda: {} if 'fit' in MEMO else {'a': work() or MEMO.setdefault('fit', 1)})\nreturn train",
        "computes once what every stage",
    ),
    "in a rehearsal": (
        "def batch_loss(self, model, images_01, labels, ctx):\n"
        "    'fit' in MEMO or work()\n    MEMO['fit'] = 1\n"
        "    ctx.log_later(lambda: MEMO.clear() or {})\n"
        "    return cross_entropy(model(images_01), labels)",
        "works in rehearsals, which are not charged",
    ),
    "at import": ("return train\n\nwork()", "importing it does work"),
}
HARMLESS = {
    "table": "table(7)\nreturn replace(train, images=train.images // 2)",
    "work": "work()\nreturn train",
    "library": "import statistics\nstatistics.mean([1, 2])\nreturn train",
}


@pytest.fixture
def found(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def found(body):
        path = tmp_path / "forgets.py"
        body, _, at_import = body.partition("\n\n")
        if not body.startswith(("def ", "@")):
            body = "def purify(self, train, ctx):\n" + textwrap.indent(body, "    ")
        methods = textwrap.indent(body, "    ")
        text = HEAD.replace("FILE", str(tmp_path / "memo"))
        path.write_text(text + TAIL.replace("METHODS", methods) + at_import)
        defenses._entries.pop("forgets", None)
        load_plugin(path)
        return kept(select(defenses, "forgets")[0], tiny().train)

    yield found
    defenses._entries.pop("forgets", None)
    vars(torch).pop("forgets", None)


@pytest.mark.parametrize(("body", "message"), BODIES.values(), ids=BODIES)
def test_memory_is_found(found, body, message):
    assert message in (found(body) or "nothing found")


LEFT = {
    "a thread": "threading.Thread(target=threading.Event().wait, daemon=True, name='fit').start()",
    "a process": "subprocess.run([sys.executable, '-S', '-c', DAEMON])",
}


@pytest.mark.parametrize(("kind", "line"), LEFT.items(), ids=LEFT)
def test_what_an_import_leaves_running_is_refused(found, monkeypatch, kind, line):
    monkeypatch.setattr("bench.check.kept_state._first", lambda *arguments: None)
    with pytest.raises(ContractError, match=f"importing it left {kind} running"):
        found(f"work(0.25)\nreturn train\n\n{line}")


def test_a_rehearsal_of_its_own_is_refused(found):
    with pytest.raises(ContractError, match="warm is for the harness alone"):
        found("with ctx.meter.warm():\n    work()\nreturn train")


@pytest.mark.parametrize("body", HARMLESS.values(), ids=HARMLESS)
def test_what_depends_on_nothing_or_is_done_again_is_no_memory(found, body):
    assert found(body) is None


def test_bench_check_sees_the_first_run_of_a_memo(tmp_path):
    """Contracts that ran before it would have filled the memo already."""
    (tmp_path / "memo.py").write_text(
        "import time\nfrom dataclasses import dataclass\nfrom bench.registry import defenses\n_memo = {}\n"
        '@defenses.register("memo-at-first")\n@dataclass(frozen=True)\nclass Memo:\n    """Pays once."""\n'
        "    def purify(self, train, ctx):\n        if not _memo:\n            end = time.process_time() + 0.6\n"
        "            while time.process_time() < end:\n                pass\n"
        "            _memo['x'] = 3\n        return train\n"
    )
    command = [sys.executable, "-m", "bench", "check", "memo-at-first", "--plugin", "memo.py"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "computes once what every stage must pay for" in " ".join(ended.stdout.split())
