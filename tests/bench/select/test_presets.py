"""The presets that ship with the package: complete, honest about themselves, and readable without torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.registry import attacks, defenses
from bench.select import presets
from bench.select.matrix import make_matrix
from bench.select.settings import Settings

ROOT = Path(__file__).parents[3]
LENGTHS = {"epochs", "steps", "train_steps", "surrogate_epochs"}


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_is_valid_and_selects_everything(name):
    matrix = make_matrix([Settings(preset=name, attacks="all", defenses="all")])
    assert matrix.preset == name


@pytest.mark.parametrize("registry", [attacks, defenses], ids=lambda registry: registry.kind)
@pytest.mark.parametrize("preset", ["cpu", "fast"])
def test_short_presets_say_how_they_shorten_whatever_trains(registry, preset):
    """A new component with a length of its own cannot be forgotten here."""
    said = presets.read(preset)["parameters"][f"{registry.kind}s"]
    trains = {name for name, entry in registry.items() if LENGTHS & set(entry.parameters)}
    assert trains <= set(said)


@pytest.mark.parametrize("preset", presets.names())
def test_no_preset_fixes_a_step_size(preset):
    """Another budget (`em:eps=16/255`, `at:norm=l2:eps=0.75`) would keep it: a weak attack under the same name."""
    text = presets.read(preset).get("parameters", {})
    said = {name for kind in text.values() for component in kind.values() for name in component}
    assert not {name for name in said if "step_size" in name}


@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_the_surrogate_of_rem_slows_down_at_40_and_80_percent(preset):
    matrix = make_matrix([Settings(preset=preset, attacks="rem")])
    chosen = matrix.attacks[1].parameters
    assert chosen["lr_decay_every"] / chosen["train_steps"] == pytest.approx(0.4)


@pytest.mark.parametrize(("preset", "warmup"), [("paper", 11), ("fast", 5), ("demo", 1)])
def test_short_presets_scale_the_warmup_of_the_amplitude_term(preset, warmup):
    dvae = make_matrix([Settings(preset=preset, defenses="dvae")]).defenses[1].parameters
    assert dvae["warmup_epochs"] == warmup
    assert warmup / dvae["epochs"] == pytest.approx(11 / 60, abs=0.5 / dvae["epochs"])


def test_only_fast_is_unvalidated():
    assert presets.unvalidated() == {"fast"}


def test_a_settings_file_cannot_call_itself_validated(tmp_path):
    from bench.select.settings import read_settings

    path = tmp_path / "mine.toml"
    path.write_text('preset = "fast"\nvalidated = true\n')
    with pytest.raises(UserError, match="unknown key 'validated'"):
        read_settings(path)


def test_presets_need_no_torch():
    code = "import sys, bench.select.presets; bench.select.presets.unvalidated(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
