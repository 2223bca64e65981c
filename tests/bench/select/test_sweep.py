import pytest

from bench.errors import UserError
from bench.registry import attacks, defenses
from bench.select.spec import select
from bench.select.sweep import swept
from bench.select.values import parse_value


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("10,30,50", ["10", "30", "50"]),
        ("10..90:20", ["10", "30", "50", "70", "90"]),
        ("10..90", ["10", "30", "50", "70", "90"]),
        ("10..30:15", ["10", "25"]),
        ("90, 10..30:10, 10,", ["90", "10", "20", "30"]),
    ],
)
def test_lists_and_ranges(values, expected):
    assert swept(defenses, "jpeg", f"quality={values}") == [f"jpeg:quality={value}" for value in expected]


def test_ranges_are_decimal_and_fractions_are_kept():
    assert swept(attacks, "em", "poison_rate=0.2..1.0:0.2") == [
        f"em:poison_rate={v}" for v in ["0.2", "0.4", "0.6", "0.8", "1"]
    ]
    assert swept(attacks, "em", "eps=4/255,8/255") == ["em:eps=4/255", "em:eps=8/255"]


def test_other_parameters_and_the_rest_of_a_chain_stay():
    assert swept(defenses, "jpeg:test_view=true", "quality=10,90")[1] == "jpeg:test_view=true:quality=90"
    assert swept(attacks, "em:lr=0.2+ops", "em.eps=4/255,8/255")[0] == "em:lr=0.2:eps=4/255+ops"


def test_a_chain_needs_no_name_of_the_part_if_one_alone_has_the_parameter():
    expected = ["iss-gray+jpeg:quality=10", "iss-gray+jpeg:quality=90"]
    assert swept(defenses, "iss-gray+jpeg", "quality=10,90") == expected
    assert swept(defenses, "iss-gray+jpeg", "jpeg.quality=10,90") == expected


@pytest.mark.parametrize(
    ("selection", "parameter", "first"),
    [
        ("adaptive:base=em:through=jpeg", "base.eps=4/255,8/255", 'adaptive:base="em:eps=4/255":through=jpeg'),
        ("adaptive:em:through=jpeg", "base.eps=4/255,8/255", 'adaptive:base="em:eps=4/255":through=jpeg'),
        ('adaptive:base="em:lr=1":through=jpeg', "base.steps=2,3", 'adaptive:base="em:lr=1:steps=2":through=jpeg'),
        ("adaptive:base=em:through=jpeg+ops", "base.eps=4/255,8/255", 'adaptive:base="em:eps=4/255":through=jpeg+ops'),
        ("ops+adaptive:em:through=jpeg", "adaptive.through.quality=9,8", 'ops+adaptive:em:through="jpeg:quality=9"'),
    ],
)
def test_a_parameter_of_the_component_that_another_names(selection, parameter, first):
    assert swept(attacks, selection, parameter)[0] == first
    (point,) = select(attacks, first)
    name, _, values = parameter.partition("=")
    (found,) = [value for key, value in point.parameters.items() if key.endswith(name)]
    assert found == parse_value(float, values.partition(",")[0])


@pytest.mark.parametrize(
    ("registry", "selection", "parameter", "message"),
    [
        (defenses, "jpeg", "qualty=10,30", "no parameter 'qualty'; did you mean quality?"),
        (defenses, "jpg", "quality=10,30", "unknown defense 'jpg'"),
        (defenses, "jpeg", "test_view=true,false", "test_view of jpeg is not a number.*its numbers are: quality"),
        (defenses, "jpeg", "quality=10", "has 1 value; a sweep takes at least 2"),
        (defenses, "jpeg", "quality=30,30.0", "has 1 value"),
        (defenses, "jpeg", "quality=", "has no value"),
        (defenses, "jpeg", "quality=10,high", "quality='high'"),
        (defenses, "jpeg", "quality=10,1.5", "quality='1.5'"),
        (defenses, "jpeg", "quality=10,500", "quality must be"),
        (defenses, "jpeg", "quality=90..10", "needs first < last and a step > 0"),
        (defenses, "jpeg", "quality=10..90:x", "is not a range"),
        (defenses, "jpeg", "quality=10..nan", "is not a range"),
        (defenses, "jpeg", "quality=1..90:0.001", "more than 1000 values"),
        (defenses, "jpeg", "quality", "not of the form NAME=VALUES"),
        (defenses, "jpeg:quality=30", "quality=10,50", "sets 'quality' twice"),
        (defenses, "iss", "test_view=1,2", "names several .iss-gray, iss-jpeg, iss-bdr"),
        (defenses, "jpeg,dvae", "quality=10,50", "takes one defense"),
        (attacks, "em+lsp", "eps=1,2", "several attacks of the chain have this parameter; choices: em.eps, lsp.eps$"),
        (defenses, "iss-jpeg+jpeg", "quality=10,90", "several defenses .*; choices: iss-jpeg.quality, jpeg.quality$"),
        (defenses, "iss-gray+jpeg", "qualty=10,90", "unknown parameter 'qualty'; did you mean jpeg.quality"),
        (defenses, "iss-gray+jpeg", "iss-gray.quality=10,90", "defense 'iss-gray' has no parameter 'quality'"),
        (defenses, "iss-gray+jpg", "quality=10,90", "unknown defense 'jpg'; did you mean jpeg"),
        (defenses, "iss+jpeg", "quality=10,90", "'iss' is several"),
        (attacks, "adaptive:base=em:through=jpeg", "base.epss=1,2", "'em' has no parameter 'epss'; did you mean eps"),
        (attacks, "adaptive:through=jpeg", "base.eps=1,2", "'adaptive' needs base"),
        (attacks, "adaptive:base=em:through=jpeg", "bas.eps=1,2", "no parameter 'bas.eps'; did you mean base"),
        (attacks, "lsp", "eps=1,inf", "not a finite number|eps"),
    ],
)
def test_mistakes_are_named(registry, selection, parameter, message):
    with pytest.raises(UserError, match=message) as raised:
        swept(registry, selection, parameter)
    assert str(raised.value).count("\n") == 0
