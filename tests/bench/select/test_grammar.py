"""Quotes and escapes in selections: a path with separators reaches the component unchanged, from everywhere."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.errors import UserError
from bench.registry import attacks, datasets
from bench.select.grammar import cut, from_table, quote, separators, unquote
from bench.select.matrix import make_matrix
from bench.select.settings import Settings, read_settings
from bench.select.spec import select

ODD_NAMES = [
    "a,b.npz",
    "C:x.npz",
    "eps=8.npz",
    "a+b.npz",
    "lsp+ops.npz",
    "lsp+ops:x.npz",
    'say "hi".npz',
    "back\\,slash.npz",
    " edge .npz",
    "plain.npz",
]


@given(st.text(st.sampled_from('ab,:=+"\\ /.')))
@example('"')
@example("\\")
@example('\\"')
def test_a_quoted_value_is_one_part_and_comes_back(value):
    written = quote(value)
    assert separators(written, ",:=+") == []
    assert unquote(written) == value


@given(st.lists(st.text(st.sampled_from('a,:"\\ '), min_size=1), min_size=1))
def test_a_list_of_quoted_values_is_cut_at_the_commas_between_them(values):
    assert [unquote(part) for part in cut(",".join(map(quote, values)), ",")] == values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"a\,b", "a,b"),
        (r"a\"b", 'a"b'),
        (r"C:\data\x", r"C:\data\x"),  # a backslash before a letter is itself
        ('"a,b"c', "a,bc"),
        ('""', ""),
        ('"say ""hi"""', 'say "hi"'),
    ],
)
def test_escapes_and_quotes(text, value):
    assert unquote(text) == value


@pytest.fixture(autouse=True)
def odd_files(tmp_path, monkeypatch):
    """An attack checks that its file exists as soon as it is selected."""
    monkeypatch.chdir(tmp_path)
    for name in ODD_NAMES:
        (tmp_path / name).touch()


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("registry", [datasets, attacks], ids=["npz", "from-file"])
def test_odd_paths_survive_every_way_in(registry, name):
    component = "npz" if registry is datasets else "from-file"
    for text in (
        f"{component}:{quote(name)}",
        f"{component}:path={quote(name)}",
        from_table({"name": component, "path": name}),
    ):
        (one,) = select(registry, [text, text])
        assert one.component.path == name
        assert select(registry, one.text)[0].component.path == name
        assert select(registry, one.full_text)[0].component.path == name


@pytest.mark.parametrize("name", ODD_NAMES)
def test_tables_need_no_quotes(tmp_path, name):
    written = name.replace("\\", "\\\\").replace('"', '\\"')
    file = tmp_path / "m.toml"
    file.write_text(
        f'preset = "demo"\ndataset = {{ name = "npz", path = "{written}" }}\n'
        f'attacks = ["ops", {{ name = "from-file", path = "{written}", eps = 0.1 }}]\n'
    )
    python = Settings("demo", {"name": "npz", "path": name}, ["ops", {"name": "from-file", "path": name, "eps": 0.1}])
    for settings in (read_settings(file), python):
        matrix = make_matrix([settings])
        assert select(datasets, matrix.dataset)[0].component.path == name
        assert [a.name for a in matrix.attacks] == ["none", "ops", "from-file"]
        assert matrix.attacks[2].component.path == name


def test_a_table_without_a_name_says_how_it_looks():
    with pytest.raises(UserError, match="a table needs a name, for example"):
        make_matrix([Settings("demo", {"path": "a.npz"})])


@pytest.mark.parametrize("name", ["a,b.npz", "C:x.npz", "eps=8.npz", "deep,er/eps=1/x.npz"])
def test_a_path_that_exists_is_suggested_in_quotes(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(UserError, match="if you meant the path, quote it") as caught:
        select(datasets, f"npz:{name}")
    assert f'npz:"{name}"' in str(caught.value)
    with pytest.raises(UserError) as caught:
        select(attacks, f"ops,from-file:{name}:eps=8/255")
    assert f'from-file:"{name}"' in str(caught.value)


def test_no_path_no_suggestion():
    with pytest.raises(UserError) as caught:
        select(datasets, "npz:missing,file.npz")
    assert "quote" not in str(caught.value)


@pytest.mark.parametrize("text", ["npz:C:/data/x.npz", "npz:/data/eps=8/x.npz"])
def test_a_path_that_does_not_exist_and_was_cut_is_explained(text):
    with pytest.raises(UserError, match=r"a path that contains one of , : = \+ is quoted"):
        select(datasets, text)


def test_a_path_with_an_open_quote_is_suggested_too(tmp_path):
    (tmp_path / 'x"y.npz').touch()
    with pytest.raises(UserError, match=r'not closed(.|\n)*quote it: npz:"x""y\.npz"'):
        select(datasets, 'npz:x"y.npz')


def test_the_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert select(datasets, "npz:~/a,b.npz".replace(",", r"\,"))[0].component.path == str(tmp_path / "a,b.npz")
    assert select(datasets, "npz:~a.npz")[0].component.path == "~a.npz"


def test_an_open_quote_is_named():
    with pytest.raises(UserError, match="a double quote is not closed"):
        select(datasets, 'npz:"a,b.npz')
