"""TOML files, presets, precedence, seeds."""

import pytest

from bench.errors import UserError
from bench.registry import attacks
from bench.select.matrix import make_matrix, parse_seeds
from bench.select.settings import Settings, read_settings
from bench.select.spec import select


def write(tmp_path, text):
    path = tmp_path / "m.toml"
    path.write_text(text)
    return path


def test_a_file_with_the_byte_order_mark_and_line_ends_of_windows_is_read(tmp_path):
    path = tmp_path / "m.toml"
    path.write_bytes(b'\xef\xbb\xbfattacks = "ops"\r\nseeds = 2\r\n')
    assert read_settings(path) == Settings(attacks="ops", seeds=2)


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


def test_another_encoding_is_named(tmp_path):
    (tmp_path / "wide.toml").write_text("seeds = 3", encoding="utf-16")
    with pytest.raises(UserError, match=r"its text is UTF-16; save the file as UTF-8"):
        read_settings(tmp_path / "wide.toml")


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


class TestTablesOfADataSet:
    """`[datasets.NAME.parameters...]` of a preset and of a file."""

    FILE = (
        'preset = "demo"\ndataset = "shapes:train=64"\ndefenses = "jpeg,dvae,iss-bdr"\n'
        "[parameters.defenses]\njpeg = { quality = 30 }\ndvae = { epochs = 2 }\n"
        "[datasets.shapes.parameters.defenses]\njpeg = { quality = 31 }\n"
        "[datasets.svhn.parameters.defenses]\njpeg = { quality = 32 }\ndvae = { epochs = 9 }\n"
    )

    @pytest.fixture
    def preset(self, tmp_path, monkeypatch):
        """A preset of one's own: general tables, and tables for `shapes`."""

        def make(text):
            (tmp_path / "mine.toml").write_text(
                'dataset = "shapes"\nattacks = "ops"\ndefenses = "jpeg"\nvictims = "small-cnn"\nseeds = 1\n' + text
            )
            monkeypatch.setattr("bench.select.presets.FOLDER", tmp_path)

        return make

    def test_it_reaches_its_own_data_set_alone(self, tmp_path):
        file = read_settings(write(tmp_path, self.FILE))
        for dataset, quality, epochs in (("shapes", 31, 2), ("svhn", 32, 9), ("cifar10", 30, 2)):
            defenses = {d.name: d for d in make_matrix([file, Settings(dataset=dataset)]).defenses}
            assert defenses["jpeg"].parameters["quality"] == quality
            assert defenses["dvae"].parameters["epochs"] == epochs
            assert defenses["dvae"].parameters["network"] == "tiny", "the preset's other parameters stay"

    @pytest.mark.parametrize(
        ("file", "words", "quality"),
        [
            ("", "jpeg", 2),
            ("[parameters.defenses.jpeg]\nquality = 3", "jpeg", 3),
            ("[parameters.defenses.'*']\nquality = 3", "jpeg", 3),
            ("[datasets.shapes.parameters.defenses.jpeg]\nquality = 4", "jpeg", 4),
            (
                "[parameters.defenses.jpeg]\nquality = 3\n[datasets.shapes.parameters.defenses.'*']\nquality = 4",
                "jpeg",
                4,
            ),
            ("[datasets.shapes.parameters.defenses.jpeg]\nquality = 4", "jpeg:quality=5", 5),
        ],
    )
    def test_the_stronger_table_wins(self, tmp_path, preset, file, words, quality):
        preset("[parameters.defenses.jpeg]\nquality = 1\n[datasets.shapes.parameters.defenses.jpeg]\nquality = 2\n")
        settings = read_settings(write(tmp_path, file))
        jpeg = make_matrix([settings, Settings(preset="mine", defenses=words)]).defenses[1]
        assert jpeg.parameters["quality"] == quality

    def test_texts_leave_out_what_the_preset_sets_on_that_data_set(self, preset):
        preset("[parameters.defenses.jpeg]\nquality = 1\n[datasets.svhn.parameters.defenses.jpeg]\nquality = 2\n")

        def text(dataset, words):
            return make_matrix([Settings("mine", dataset, defenses=words)]).defenses[1].text

        assert text("svhn", "jpeg") == text("svhn", "jpeg:quality=2") == text("shapes", "jpeg:quality=1") == "jpeg"
        assert text("svhn", "jpeg:quality=1") == "jpeg:quality=1"

    def test_a_files_own_values_are_written_out(self, tmp_path):
        file = read_settings(write(tmp_path, self.FILE))
        assert [d.text for d in make_matrix([file]).defenses] == ["none", "jpeg:quality=31", "dvae:epochs=2", "iss-bdr"]

    def test_chains_and_victims_are_reached(self, preset):
        preset(
            '[datasets.shapes.parameters.attacks.lsp]\neps = 1.0\n[datasets.shapes.parameters.victims."*"]\nlr = 0.5\n'
        )
        matrix = make_matrix([Settings("mine", attacks="lsp+ops", victims="small-cnn,resnet18")])
        assert matrix.attacks[1].parameters["lsp.eps"] == 1.0
        assert matrix.attacks[1].text == "lsp+ops"
        assert [v.parameters["lr"] for v in matrix.victims] == [0.5, 0.5]
        assert matrix.from_dataset == ("lsp eps=1.0", "small-cnn lr=0.5", "resnet18 lr=0.5")

    def test_the_matrix_says_which_values_come_from_them(self, tmp_path):
        file = read_settings(write(tmp_path, self.FILE))
        assert make_matrix([file]).from_dataset == ("jpeg quality=31",)
        assert make_matrix([file, Settings(defenses="jpeg:quality=7")]).from_dataset == ()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[datasets.cifar1000.parameters.defenses]\ndvae = {epochs = 1}", r"cifar1000: unknown.*mean cifar100\?"),
            ("[datasets.svhn.parameters.defenses]\ndvea = {epochs = 1}", "datasets.svhn: unknown defense 'dvea'"),
            (
                "[datasets.svhn.parameters.defenses]\ndvae = {epochz = 1}",
                "svhn: .*'dvae': 'epochz'; did you mean epochs",
            ),
            (
                "[datasets.svhn.parameters.victims.'*']\nepochz = 1",
                "parameter of victims 'epochz'; did you mean epochs",
            ),
            ("[datasets.svhn.parameters.defence]\na = {}", r"svhn.parameters: unknown kind 'defence'; did you mean"),
            ("[datasets.svhn.parameter.defenses]\na = {}", "datasets.svhn: unknown key 'parameter'; did you mean"),
            ("[datasets.svhn.parameters.defenses]\ndvae = 3", "svhn.parameters.defenses must be tables"),
            ("[datasets.svhn]\nparameters = 3", "datasets.svhn.parameters must be a table"),
            ("[datasets]\nsvhn = 3", "datasets.svhn must be a table"),
            ("datasets = 3", "datasets must be a table"),
            ("[parameters.defenses]\ndvae = {epochz = 1}", "parameter of defense 'dvae': 'epochz'"),
        ],
    )
    def test_misspelt_names_are_errors_though_the_matrix_uses_none_of_them(self, tmp_path, text, message):
        with pytest.raises(UserError, match=message):
            make_matrix([read_settings(write(tmp_path, text)), Settings(preset="demo", defenses="jpeg")])


def test_components_that_parameters_name_start_from_the_tables_of_their_kind(tmp_path):
    file = read_settings(write(tmp_path, 'preset = "demo"\n[parameters.defenses]\ndvae = { lr = 0.03 }\n'))
    texts = 'adaptive:base=em:through=dvae,adaptive:base=em:through="dvae:epochs=4"'
    _, plain, changed = make_matrix([file, Settings(attacks=texts)]).attacks
    assert plain.parameters["base.surrogate"] == "s-net"
    assert [plain.parameters[f"through.{name}"] for name in ("network", "epochs", "lr")] == ["tiny", 3, 0.03]
    assert [changed.parameters[f"through.{name}"] for name in ("network", "epochs")] == ["tiny", 4]
    assert plain.text == 'adaptive:base=em:through="dvae:lr=0.03"', "what the file says, the preset left out"
    (again,) = select(attacks, plain.full_text)
    assert again.parameters == plain.parameters
