"""Hooks of MkDocs: pages that live elsewhere in the repository, and the card of every method from the registry."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.listing import Card, card, preset_changes
from bench.registry import BY_KIND
from bench.select import presets

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
ELSEWHERE = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
    "boards.md": "boards/README.md",
    "published.md": "leaderboard/published/PUBLISHED.md",
    "CITATION.cff": "CITATION.cff",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the files that live outside of `docs`."""
    from mkdocs.structure.files import File

    for page, source in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links of the repository into links of the site, and marks for cards into cards."""
    markdown = re.sub(r"<!-- cards: (\w+) -->", lambda mark: cards(mark[1]), markdown)
    return re.sub(r"\]\((?!\w+:|#)([^)#\s]+)", lambda link: f"]({site_link(page.file.src_uri, link[1])}", markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Ends the build if a page would fetch anything from a network when it is read."""
    from mkdocs.exceptions import PluginError

    if found := re.search(r'<(?:script|img|iframe)\b[^>]*\bsrc="?https?:|<link\b[^>]*\bhref="?https?:', output):
        raise PluginError(f"{page.file.src_uri} fetches from a network: {output[found.start() : found.end() + 60]}")
    return output


def site_link(page: str, target: str) -> str:
    """A relative link of a page as a link between pages of the site."""
    source = ELSEWHERE.get(page, f"docs/{page}")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    there = {path: name for name, path in ELSEWHERE.items()}.get(path, path.removeprefix("docs/"))
    return posixpath.relpath(there, posixpath.dirname(page) or ".")


def cards(kind: str) -> str:
    """The cards of all components of a kind (`defenses`, ...), or of all presets, in Markdown."""
    if kind == "presets":
        return "\n\n".join(_preset(name) for name in presets.names())
    return "\n\n".join(_markdown(card(kind, name, entry)) for name, entry in BY_KIND[kind].items())


def _markdown(shown: Card) -> str:
    facts = "\n".join(f"- **{label}**: {text}" for label, text in shown.facts)
    facts = re.sub(r"(https://[^)]+)", r"<\1>", facts)
    parts = [f"## {shown.name}", *map(_escaped, shown.paragraphs), facts]
    parts.append(f"```sh\n{shown.example}\n```")
    rows = [(f"`{p.name}`", f"`{p.default}`", p.type, p.meaning, p.presets) for p in shown.parameters]
    if rows:
        parts.append(_table(("parameter", "default", "type", "meaning", "in presets"), rows))
    return "\n\n".join(part for part in parts if part)


def _preset(name: str) -> str:
    mark = " (unvalidated)" * (name in presets.unvalidated())
    parts = [f"## {name}{mark}", _escaped(presets.summary(name))]
    for dataset, lines in preset_changes(name):
        parts.append(f"On `{dataset}`:" if dataset else "Parameters that differ from the components' defaults:")
        parts.append("\n".join(f"- `{line}`" for line in lines))
    return "\n\n".join(parts)


def _table(heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    cells = [heads, ("---",) * len(heads), *([_escaped(text).replace("|", "\\|") for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _escaped(text: str) -> str:
    """Text of a docstring as Markdown: nothing outside of code is read as HTML, pages that it names are links."""
    parts = re.sub(r"\bdocs/([\w/-]+\.md)", r"[docs/\1](../\1)", text).split("`")
    return "`".join(part if i % 2 else part.replace("<", "&lt;") for i, part in enumerate(parts))
