"""Source digests that the keys of artifacts hold."""

from types import SimpleNamespace

from bench.portable.sources import sources_of


def test_components_that_another_one_names_are_among_the_sources():
    others = {"base": {"name": "em", "source": "b"}, "through": {"name": "mine", "source": "c"}}
    component = {"name": "adaptive", "source": "a", "others": others}
    poison = SimpleNamespace(stage="poison", preimage={"component": component})
    assert sources_of([poison]) == {"attack adaptive": {"a"}, "attack em": {"b"}, "defense mine": {"c"}}


def test_what_a_component_of_a_stranger_names_is_of_no_known_kind():
    component = {"name": "strange", "source": "a", "others": {"base": {"name": "em", "source": "b"}}}
    assert sources_of([SimpleNamespace(stage="poison", preimage={"component": component})]) == {"attack strange": {"a"}}
