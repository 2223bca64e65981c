"""Selections: names, parameters, globs, families, errors; keys."""

import time
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UserError
from bench.registry import Registry, defenses, victims
from bench.select.spec import canonical_json, digest, plain, resolve, select
from bench.select.values import parse_value


def registry() -> Registry:
    found: Registry = Registry("defense", "purify_bench.no_such_group")

    @found.register("blur", deterministic=True)
    @dataclass(frozen=True)
    class Blur:
        """Blurs."""

        sigma: float = 1.0
        passes: int = 1
        border: Literal["reflect", "zero"] = "reflect"
        fast: bool = False
        limit: int | None = None

        def __post_init__(self):
            if self.sigma <= 0:
                raise ValueError(f"sigma must be > 0, got {self.sigma}")

    for name in ("iss-a", "iss-b"):

        @found.register(name, family="iss")
        @dataclass(frozen=True)
        class Member:
            """A member."""

            bits: int = 2

    @found.register("none")
    @dataclass(frozen=True)
    class Nothing:
        """Nothing."""

    @found.register("file")
    @dataclass(frozen=True)
    class File:
        """Needs a path."""

        path: str

    return found


def texts(words, **kwargs):
    return [selected.text for selected in select(registry(), words, **kwargs)]


def test_names_globs_families_and_all():
    assert texts("blur") == ["blur"]
    assert texts("iss") == ["iss-a", "iss-b"]
    assert texts("iss-*:bits=3") == ["iss-a:bits=3", "iss-b:bits=3"]
    assert texts("all") == ["blur", "iss-a", "iss-b"], "neither none nor what needs a parameter"
    assert texts("blur,iss,blur") == ["blur", "iss-a", "iss-b"]


def test_the_text_is_canonical():
    assert texts("blur:passes=1:sigma=2") == ["blur:sigma=2.0"]
    assert texts("blur:sigma=8/255") == ["blur:sigma=8/255"], "not 0.03137254901960784"
    assert texts("blur:sigma=0.2") == ["blur:sigma=0.2"], "not 51/255"
    assert texts("blur:fast=yes:limit=none:border=zero") == ["blur:border=zero:fast=true"]


def test_a_bare_segment_is_the_first_parameter():
    assert texts("file:some/where.npz") == ["file:path=some/where.npz"]


def test_preset_parameters_give_way_to_explicit_ones():
    defaults = {"*": {}, "blur": {"sigma": 3, "passes": 4}}
    assert texts("blur:passes=5", defaults=defaults) == ["blur:sigma=3.0:passes=5"]


def test_what_the_preset_sets_goes_without_saying():
    preset = {"blur": {"sigma": 3, "passes": 4}}
    changed = {"blur": {"sigma": 3, "passes": 9}}
    assert texts("blur", defaults=preset, preset=preset) == ["blur"]
    assert texts("blur", defaults=changed, preset=preset) == ["blur:passes=9"]
    assert texts("blur:sigma=1", defaults=preset, preset=preset) == ["blur:sigma=1.0"]
    (one,) = select(registry(), "blur", preset, preset)
    assert one.parameters["sigma"] == 3.0
    assert "sigma=3.0" in one.full_text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("blurr", r"unknown defense 'blurr'; did you mean blur\? Choices: .*iss"),
        ("blur:sigm=1", "has no parameter 'sigm'; did you mean sigma.*it takes: sigma, passes"),
        ("none:x=1", "it takes none"),
        ("blur:passes=1.5", "passes='1.5': must be a whole number, such as 30"),
        ("blur:passes=true", "passes"),
        ("blur:border=wrap", "must be 'reflect' or 'zero'"),
        ("blur:passes=1e3", "passes='1e3': must be a whole number.*; write 1000"),
        ("blur:sigma=50%", "sigma='50%': must be a number; write 0.5"),
        ("blur:sigma=big", r"sigma='big': must be a number, such as 0\.5 or 8/255"),
        ("blur:", "nothing stands behind a ':'; write blur:parameter=value"),
        ("blur:passes", r"passes has no value; write blur:passes=\.\.\."),
        ("BLUR", r"unknown defense 'BLUR'; did you mean blur\?"),
        ("clean", "`none` stands for no defense"),
        ("file:https://example.org/a.npz", "https:// addresses are not read; download it, and give the path"),
        ("blur:sigma=0", "sigma must be > 0, got 0"),
        ("blur:sigma=nan", "not a number"),
        ("blur:sigma=1/0", "its denominator is 0"),
        ("blur:sigma=1:sigma=2", "twice"),
        ("file", "needs path: write file:path="),
        ("x*", "no defense matches"),
        ("", "no defense selected"),
    ],
)
def test_bad_selections_name_the_value_and_the_choices(words, message):
    with pytest.raises(UserError, match=message):
        texts(words)


def test_all_problems_are_reported_at_once():
    with pytest.raises(UserError) as caught:
        texts("blurr,blur:sigma=x,iss-a:bit=1")
    assert len(str(caught.value).splitlines()) == 3


@given(
    sigma=st.floats(min_value=1e-6, max_value=1e6),
    passes=st.integers(-(10**6), 10**6),
    fast=st.booleans(),
    limit=st.none() | st.integers(0, 99),
    border=st.sampled_from(["reflect", "zero"]),
)
def test_text_and_full_text_round_trip(sigma, passes, fast, limit, border):
    given_values = {"sigma": sigma, "passes": passes, "fast": fast, "limit": limit, "border": border}
    one = resolve(registry(), "blur", given_values)
    for text in (one.text, one.full_text):
        assert select(registry(), text)[0].parameters == one.parameters


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.floats(allow_nan=False, allow_infinity=False)))
def test_the_key_does_not_depend_on_the_order_of_a_mapping(values):
    backwards = dict(reversed(values.items()))
    assert canonical_json(values) == canonical_json(backwards)
    assert digest(values) == digest(backwards)


def test_infinity_is_text():
    assert plain(parse_value(float, "inf")) == "inf"


def test_registration_is_strict():
    found: Registry = Registry("defense", "none.such")
    with pytest.raises(TypeError, match="frozen"):

        @found.register("a")
        class NotADataclass:
            """Doc."""

    with pytest.raises(TypeError, match="docstring"):

        @found.register("b")
        @dataclass(frozen=True)
        class NoDoc:
            x: int = 1

    with pytest.raises(ValueError, match="lower-case"):

        @found.register("Upper Case")
        @dataclass(frozen=True)
        class Upper:
            """Doc."""


class TestConstruction:
    @pytest.fixture
    def works(self):
        """A defense that computes when it is constructed, for 0.3 s of processor time."""

        @dataclass(frozen=True)
        class Works:
            """A test."""

            def __post_init__(self) -> None:
                end = time.process_time() + 0.3
                while time.process_time() < end:
                    pass

            def purify(self, train, ctx):
                return train

        yield Works
        for registry in (defenses, victims):
            registry._entries.pop("works", None)

    def test_a_defense_that_works_before_the_meter_runs_is_refused(self, works):
        defenses.register("works")(works)
        with pytest.raises(UserError, match=r"'works': its construction does work: 0\.\d+ s; put it in purify"):
            select(defenses, "works")

    def test_a_victim_may_look_at_a_library(self, works):
        victims.register("works")(works)
        assert select(victims, "works")[0].name == "works"
