"""TOML files, presets, precedence, seeds."""

import pytest

from bench.config import Settings, make_matrix, parse_seeds, read_settings
from bench.errors import UserError


def write(tmp_path, text):
    path = tmp_path / "m.toml"
    path.write_text(text)
    return path


def test_the_command_line_wins_over_the_file_and_the_file_over_the_preset(tmp_path):
    file = read_settings(
        write(
            tmp_path,
            'preset = "demo"\nattacks = ["lsp"]\ndefenses = "jpeg,dvae"\nseeds = [3, 4]\n'
            "[parameters.defenses]\njpeg = { quality = 30 }\ndvae = { epochs = 2 }\n",
        )
    )
    matrix = make_matrix([file, Settings(attacks="ops", defenses=None)])
    assert [a.name for a in matrix.attacks] == ["none", "ops"]
    assert [d.parameters.get("quality") for d in matrix.defenses] == [None, 30, None]
    dvae = matrix.defenses[2].parameters
    assert dvae["epochs"] == 2
    assert dvae["network"] == "tiny", "the preset's other parameters stay"
    assert matrix.seeds == (3, 4)
    assert matrix.dataset == "shapes"
    assert matrix.victims[0].parameters["preset"] == "demo"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("atacks = 'all'", "unknown key 'atacks'; did you mean attacks"),
        ("attacks = 3", "attacks must be a text or a list"),
        ("seeds = 'x", "not valid TOML"),
        ("seeds = 1.5", "seeds must be"),
        ("seeds = true", "seeds must be"),
        ("[parameters.defence]\na = 1", "unknown kind 'defence'; did you mean defenses"),
        ("[parameters.defenses]\njpeg = 3", "must be tables"),
        ("dataset = ['shapes']", "dataset must be a text"),
        ("attacks = [['lsp']]", "attacks must be a text or a list of texts and tables"),
    ],
)
def test_bad_files_are_refused(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_settings(write(tmp_path, text))


def test_all_problems_of_a_matrix_come_at_once():
    with pytest.raises(UserError) as caught:
        make_matrix([Settings("demo", "shapez", "lspp", "dvae:kdl=1", "resnet81", "0,0")])
    text = str(caught.value)
    for part in ("shapez", "lspp", "kdl", "resnet81", "seeds '0,0'"):
        assert part in text


def test_a_misspelt_component_in_a_parameter_table_is_an_error():
    with pytest.raises(UserError, match="unknown defense 'dvea'"):
        make_matrix([Settings(preset="demo", parameters={"defenses": {"dvea": {"epochs": 1}}})])


def test_parameters_for_all_reach_those_that_have_them():
    matrix = make_matrix([Settings("demo", defenses="jpeg,iss-gray", parameters={"defenses": {"*": {"quality": 20}}})])
    assert [d.parameters.get("quality") for d in matrix.defenses] == [None, 20, None]
    with pytest.raises(UserError, match="unknown parameter of defenses 'qualty'; did you mean quality"):
        make_matrix([Settings(preset="demo", parameters={"defenses": {"*": {"qualty": 20}}})])


def test_unknown_preset():
    with pytest.raises(UserError, match="unknown preset 'fsat'; did you mean fast"):
        make_matrix([Settings(preset="fsat")])


@pytest.mark.parametrize(
    ("value", "expected"), [(1, (0,)), ("3", (0, 1, 2)), ("0,5", (0, 5)), ("7,", (7,)), ([2, 1], (2, 1))]
)
def test_seeds(value, expected):
    assert parse_seeds(value) == expected


@pytest.mark.parametrize("value", ["0", "-1", "a", "1,1", "1,-2", [], ","])
def test_bad_seeds(value):
    with pytest.raises(UserError, match="seeds"):
        parse_seeds(value)
