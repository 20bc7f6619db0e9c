"""What reaches the browser: how much, from where, and GraphiQL on its own page."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import zipfile
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import pytest
from playwright.async_api import expect

from app.pages import BUILDS, COMPLETE, GRAPHIQL
from tests.agents import Response
from tests.browser.conftest import a_client, an_admin

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.conftest import Site, Someone, StartAgent, Visiting

ROOT = BUILDS[1].parent.parent
FIRST_LOAD_BYTES = 200_000


async def gzipped_bytes(site: Site, addresses: list[str]) -> int:
    """What a client that takes gzip is sent for all of them."""
    total = 0
    for address in addresses:
        async with site.http.stream("GET", address, headers={"accept-encoding": "gzip"}) as response:
            total += sum([len(chunk) async for chunk in response.aiter_raw()])
    return total


@pytest.mark.parametrize("someone", [a_client(), an_admin()], ids=["client", "admin"])
async def test_the_first_load_is_small(site: Site, visit: Visiting, someone: Someone) -> None:
    visitor = await visit(someone)
    await visitor.open("/")
    await visitor.page.wait_for_load_state("networkidle")

    files = [url for url in visitor.requests if urlsplit(url).path.startswith("/assets/")]
    size = await gzipped_bytes(site, [f"{site.url}/jobs", *files])

    assert any(url.endswith(".js") for url in files)
    assert any(url.endswith(".css") for url in files)
    assert size <= FIRST_LOAD_BYTES, f"{size} bytes: {files}"


# Of each asset that the page has loaded by now, the bytes that came over the network.
_TRANSFERRED = """Object.fromEntries(
    performance.getEntriesByType("resource")
        .filter(entry => entry.name.includes("/assets/"))
        .map(entry => [entry.name, entry.transferSize])
)"""


async def test_what_was_loaded_once_is_not_loaded_again(site: Site, visit: Visiting) -> None:
    visitor = await visit(a_client())
    page = await visitor.open("/jobs")
    # The browser fetches the icon when it has nothing better to do: perhaps only after the reload.
    loaded: dict[str, int] = await page.evaluate(_TRANSFERRED)
    await page.reload()
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    again: dict[str, int] = await page.evaluate(_TRANSFERRED)

    assert {PurePosixPath(url).suffix for url in loaded} >= {".js", ".css"}
    assert all(loaded.values())
    assert again
    assert {url: again.get(url, 0) for url in loaded} == dict.fromkeys(loaded, 0)


async def test_graphiql_asks_and_follows_as_whoever_is_signed_in(
    site: Site, visit: Visiting, start_agent: StartAgent
) -> None:
    ines = a_client()
    go = asyncio.Event()
    _, agent_id = await start_agent(Response(after=go))
    job_id = await site.job(ines, agent_id)
    visitor = await visit(ines)
    page = visitor.page
    async with page.expect_worker() as thinking:
        await page.goto(f"{site.url}/graphql?query={quote('{ viewer { id displayName } }')}")
    # Its editor thinks in workers, which are files of ours too.
    assert urlsplit((await thinking.value).url).path.startswith("/assets/")
    run = page.get_by_role("button", name="Execute query")
    answer = page.locator(".graphiql-response")

    await expect(page.get_by_role("main").get_by_role("heading", name="Signoff")).to_be_visible()
    await run.click()
    await expect(answer).to_contain_text(ines.id)

    # From the entry that is there already, so that it does not matter when the socket is open.
    log = await site.ask(ines, "query($id: ID!) { job(id: $id) { logs(last: 1) { edges { cursor } } } }", id=job_id)
    place = f'jobId: "{job_id}", after: {json.dumps(log["job"]["logs"]["edges"][0]["cursor"])}'
    follow = f"subscription {{ jobLogAppended({place}) {{ log {{ message type }} }} }}"
    await page.goto(f"{site.url}/graphql?query={quote(follow)}")
    await run.click()
    await expect(page.get_by_role("button", name="Stop query")).to_be_visible()
    await site.execute(ines, job_id, wait_seconds=0)
    await expect(answer).to_contain_text("AGENT_REQUEST")
    go.set()
    await expect(answer).to_contain_text("STATUS_CHANGE")


def test_a_wheel_brings_the_pages_along(started: dict[str, Any], tmp_path: Path) -> None:
    del started  # which says where the pages are not built
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=ROOT, check=True)

    [wheel] = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())

    folder, built = BUILDS
    assert {path.relative_to(ROOT).as_posix() for path in [folder / COMPLETE, folder / GRAPHIQL]} <= names
    assert {f"app/web/assets/{path.name}" for path in (built / "assets").iterdir()} <= names
