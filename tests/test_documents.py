"""The documents keep their promises: links resolve, the cards of the site show the whole registry."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from bench.registry import BY_KIND

ROOT = Path(__file__).parents[1]
PAGES = [
    *(
        ROOT / name
        for name in (
            "README.md",
            "CONTRIBUTING.md",
            "CHANGELOG.md",
            "SECURITY.md",
            "boards/README.md",
            "leaderboard/published/PUBLISHED.md",
        )
    ),
    *sorted((ROOT / "docs").rglob("*.md")),
]
PACKAGES = ("bench", "attacks", "defenses", "victims", "leaderboard", "gpu")
MADE_LATER = {"docs/gpu.json"}


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert page.parent.joinpath(target).exists(), target


def test_pages_that_code_mentions_exist():
    mentioned = {}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            for page in re.findall(r"\bdocs/[\w/.-]+\.\w+", file.read_text(encoding="utf-8")):
                mentioned[page] = file
    assert "docs/start.md" in mentioned
    assert not {page: file for page, file in mentioned.items() if not (ROOT / page).exists()}.keys() - MADE_LATER


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_and_modules_that_pages_name_exist(page):
    text = page.read_text(encoding="utf-8")
    start = rf"(?<![\w/.:-])(?:{'|'.join(PACKAGES)}"
    paths = set(re.findall(rf"{start}|docs|tests)/[\w./-]*\w", text)) - MADE_LATER
    assert not {path for path in paths if not (ROOT / path).exists()}
    names = set(re.findall(rf"{start})(?:\.\w+)+", text))
    written = re.compile(r".*\.(?:register|md|csv|json|tex)")  # the registry's method; files of a board
    assert not {name for name in names if not written.fullmatch(name) and not _is_module_or_in_one(name)}


def _is_module_or_in_one(name):
    parts, module = name.split("."), ROOT
    while parts and ((module / parts[0]).is_dir() or (module / f"{parts[0]}.py").exists()):
        module /= parts.pop(0)
    source = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
    return not parts or re.search(rf"\b{parts[0]}\b", source.read_text(encoding="utf-8"))


def test_every_parameter_of_every_component_is_on_its_card(hooks):
    for kind, registry in BY_KIND.items():
        cards = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", hooks.cards(kind), re.MULTILINE | re.DOTALL))
        assert list(cards) == list(registry)
        for name, entry in registry.items():
            assert re.findall(r"^\| `(\w+)` \|", cards[name], re.MULTILINE) == list(entry.parameters), name


@pytest.mark.parametrize(
    ("page", "link", "there"),
    [
        ("index.md", "docs/results.md", "results.md"),
        ("contributing.md", "docs/results.md", "results.md"),
        ("results.md", "../CONTRIBUTING.md", "contributing.md"),
        ("methods/attacks.md", "../poison-files.md", "../poison-files.md"),
        ("methods/attacks.md", "../../README.md", "../index.md"),
    ],
)
def test_links_of_the_repository_lead_to_pages_of_the_site(hooks, page, link, there):
    assert hooks.site_link(page, link) == there


def test_the_results_in_the_readme_are_measurements():
    measured = (ROOT / "docs" / "measurements.md").read_text(encoding="utf-8").splitlines()
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Results")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert len(rows) > 4
    assert set(rows) <= set(measured)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_plain_words(page):
    """Idioms that a reader whose English is a second language has to look up."""
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    idioms = (
        r"\b(?:beside|goes on|go on with|reckon\w*|bites?|side by side|a row a|a file a|one (?:row|file|folder) a)\b"
    )
    assert not re.findall(idioms, text, re.IGNORECASE)


def test_docstrings_open_with_a_verb_or_a_noun():
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    openers = ("What", "How", "Whether", "Where", "Which", "Who", "Why")
    found = []
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            nodes = (node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, kinds))
            first = (line for node in nodes for line in (ast.get_docstring(node) or "").splitlines()[:1])
            found += [f"{file.relative_to(ROOT)}: {line}" for line in first if line.split(" ")[0] in openers]
    assert not found
