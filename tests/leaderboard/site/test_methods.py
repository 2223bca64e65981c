from collections.abc import Callable
from dataclasses import replace

from bench.store.results import CellResult
from leaderboard.site.methods import Method, method_cards
from leaderboard.tables.cell_rows import cell_row

MakeCell = Callable[..., CellResult]
DOCSTRING = """Compress every image once.

    Costs accuracy on
    clean data.

    Attributes:
        quality: 1 to 100;
            the paper uses 10.
        width, height: of a block.
    """


def test_a_docstring_becomes_paragraphs_and_meanings(make_cell: MakeCell) -> None:
    parameters = {"quality": "10", "width": "8", "other": "required"}
    base = "A base.\n\nAttributes:\n    other: from the base.\n    width: not this."
    method = Method(
        *("defense", "iss-jpeg", "arXiv:2301.13838", "iss"),
        description=DOCSTRING,
        inherited=(base,),
        parameters=parameters,
    )
    entry = dict(method_cards([method], []))["Defenses"][0]
    assert entry.paragraphs == ["Compress every image once.", "Costs accuracy on clean data."]
    assert entry.parameters == [
        ("quality", "10", "1 to 100; the paper uses 10."),
        ("width", "8", "of a block."),
        ("other", "required", "from the base."),
    ]
    assert entry.link == "https://arxiv.org/abs/2301.13838"


def test_the_kind_of_an_attack_is_known_from_its_cells(make_cell: MakeCell) -> None:
    cell, words = make_cell("blur", "none"), ["class-wise", "unbounded"]
    cell = replace(cell, attack=replace(cell.attack, extra={"traits": words}))
    assert cell_row(cell)["attack_traits"] == tuple(words)
    (blur,) = dict(method_cards([], [cell]))["Attacks"]
    assert blur.method.traits == tuple(words)


def test_what_was_run_stands_below_its_method(make_cell: MakeCell) -> None:
    cell = make_cell("lsp", "dvae:kld=3")
    cell = replace(
        cell, defense=replace(cell.defense, parameters={"kld": 3, "eps": 8 / 255}, source="arXiv:2405.01460")
    )
    kinds = dict(method_cards([Method("attack", "ops"), Method("attack", "lsp")], [cell, make_cell("lsp", "dvae")]))
    assert [entry.method.name for entry in kinds["Attacks"]] == ["lsp", "ops"]
    (dvae,) = kinds["Defenses"]
    assert dvae.selections == [("dvae", ""), ("dvae:kld=3", "eps = 8/255, kld = 3")]
    assert [entry.method.name for entry in kinds["Victims"]] == ["resnet18"]
