"""What the board shows in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page


def defenses(page: Page) -> list[str]:
    return page.locator(".board tbody tr:visible .pick").all_inner_texts()


def state(page: Page) -> dict[str, str]:
    found: dict[str, str] = page.evaluate("Object.fromEntries(new URLSearchParams(location.hash.slice(1)))")
    return found
