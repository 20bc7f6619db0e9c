"""What several stories do and look for."""

from __future__ import annotations

from playwright.async_api import Locator, Page, expect


async def press(page: Page, name: str) -> None:
    await page.get_by_role("button", name=name, exact=True).click()


async def stands(page: Page, status: str, headline: str | None = None) -> None:
    """Wait until the job's page says that it stands there."""
    standing = page.locator("section[aria-labelledby=standing]")
    await expect(standing.get_by_text(status, exact=True)).to_be_visible()
    if headline is not None:
        await expect(standing.get_by_role("heading", level=2)).to_have_text(headline)


def card(page: Page, title: str) -> Locator:
    return page.get_by_role("region", name=title, exact=True)


def log_entry(page: Page, words: str) -> Locator:
    """Find the entries of the log that say so."""
    return page.get_by_role("list", name="Log entries").get_by_role("button").filter(has_text=words)
