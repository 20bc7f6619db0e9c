"""What an admin does: overrides with a reason, agents, everybody's jobs."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from playwright.async_api import Route, expect

from tests.agents import Response, ScriptedAgent
from tests.browser.conftest import a_client, an_admin
from tests.browser.steps import card, log_entry, press, stands

if TYPE_CHECKING:
    from tests.browser.conftest import Site, StartAgent, Visiting

REASON = "The customer has agreed by telephone."


@pytest.mark.parametrize(
    ("override", "status", "headline"),
    [
        ("Force completion", "Completed", "Signed off"),
        ("Force a re-submission", "Re-submission Required", None),
        ("Force an assignment", "Assigned", None),
        ("Force an execution", "In Execution", "Calling the agent"),
    ],
)
async def test_an_override_needs_a_reason_which_is_in_the_log(
    site: Site, visit: Visiting, start_agent: StartAgent, override: str, status: str, headline: str | None
) -> None:
    ines = a_client()
    go = asyncio.Event()
    agent, agent_id = await start_agent(Response(after=go), Response({"ok": True}, after=go))
    job_id = await site.job(ines, agent_id)
    await site.execute(ines, job_id, wait_seconds=0)
    await agent.called.wait()
    page = await (await visit(an_admin())).open(f"/admin/jobs/{job_id}")
    await stands(page, "In Execution", "Calling the agent")

    await press(page, override)
    dialog = page.get_by_role("dialog", name=override)
    await expect(dialog.get_by_text("The running execution is ended")).to_be_visible()
    do = dialog.get_by_role("button", name=override)
    await expect(do).to_be_disabled()
    if override == "Force completion":
        await dialog.get_by_label("Give another result than the latest answer").check()
        await dialog.get_by_role("textbox", name="Result").fill('{"ok": "by hand"}')
    await dialog.get_by_label("Reason").fill(REASON)
    await do.click()

    await expect(dialog).to_have_count(0)
    await stands(page, status, headline)
    await expect(log_entry(page, REASON)).to_have_count(1)
    await expect(card(page, "Attempts").get_by_text("Superseded", exact=True)).to_be_visible()
    if override == "Force completion":
        await expect(card(page, "Result").get_by_text("by hand")).to_be_visible()
    go.set()
    if override == "Force an execution":
        await stands(page, "Completed", "Signed off")


async def test_an_agent_is_registered_looked_at_and_disabled(site: Site, visit: Visiting) -> None:
    name = f"Summariser {uuid4().hex[:6]}"
    page = await (await visit(an_admin())).open("/admin/agents")
    async with ScriptedAgent() as agent:
        await press(page, "Register an agent")
        form = page.get_by_role("dialog", name="Register an agent")
        await form.get_by_label("Name").fill(name)
        await form.get_by_label("Address").fill("http://169.254.169.254/latest")
        await form.get_by_label("Input schema").fill('{"type": "objec"}')
        await expect(form.get_by_text("objec").last).to_be_visible()
        schema = '{"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}'
        await form.get_by_label("Input schema").fill(schema)
        await form.get_by_role("textbox", name="Secret").fill("a-long-secret-of-the-agent")
        await press(page, "Register")
        await expect(form.get_by_role("alert")).to_be_visible()
        await form.get_by_label("Address").fill(agent.url)
        await press(page, "Register")
        await expect(form).to_have_count(0)

        registered = card(page, name)
        await expect(registered.get_by_text("Enabled", exact=True)).to_be_visible()
        found = await site.ask(an_admin(), "{ agents(first: 100) { nodes { id name } } }")
        [agent_id] = [each["id"] for each in found["agents"]["nodes"] if each["name"] == name]
        ines = a_client()
        job_id = await site.job(ines, agent_id, title="Sum it up", input={"text": "A long text."})
        assert await site.execute(ines, job_id) == "COMPLETED"
        await page.reload()
        await expect(registered.get_by_role("link", name="Accepted: Sum it up")).to_be_visible()

        await registered.get_by_role("button", name="Preview a request").click()
        preview = page.get_by_role("dialog", name=f"What {name} would get")
        await expect(preview.get_by_role("region", name="Request")).to_contain_text("A long text.")
        await expect(page.get_by_text("a-long-secret")).to_have_count(0)
        await page.keyboard.press("Escape")

        await registered.get_by_role("button", name="Disable").click()
        await page.get_by_role("dialog", name=f"Disable {name}").get_by_role("button", name="Disable").click()
        await expect(registered.get_by_text("Disabled", exact=True)).to_be_visible()
        await registered.get_by_role("button", name="Enable").click()
        await expect(registered.get_by_text("Enabled", exact=True)).to_be_visible()


async def test_everybodys_jobs_are_counted_filtered_and_executed(
    site: Site, visit: Visiting, start_agent: StartAgent
) -> None:
    mark = uuid4().hex[:10]
    _, agent_id = await start_agent(Response())
    await site.job(a_client(), title=f"Waits {mark}")
    await site.job(a_client(), agent_id, title=f"Ready {mark}")
    page = await (await visit(an_admin())).open(f"/admin/jobs?search={mark}")
    rows = card(page, "Jobs").get_by_role("row")
    await expect(rows).to_have_count(3)
    tiles = page.get_by_role("group", name="Status")
    await expect(tiles.get_by_role("button", name="1 Assigned")).to_be_visible()

    await tiles.get_by_role("button", name="Assigned").click()
    await expect(rows).to_have_count(2)
    await expect(page).to_have_url(f"{site.url}/admin/jobs?search={mark}&status=assigned")
    await tiles.get_by_role("button", name="Assigned").click()
    await press(page, f"Execute Ready {mark}")

    # Nobody reloads: the page follows.
    await expect(tiles.get_by_role("button", name="1 Completed")).to_be_visible()
    await expect(rows.filter(has_text=f"Ready {mark}")).to_contain_text("Accepted")
    await page.get_by_role("link", name=f"Ready {mark}").click()
    await expect(page).to_have_url(re.compile("/admin/jobs/job_"))
    await expect(card(page, "Overrides")).to_be_visible()


async def test_what_is_stuck_comes_first(site: Site, visit: Visiting, start_agent: StartAgent) -> None:
    ines = a_client()
    _, agent_id = await start_agent(Response({"summary": "Fine words."}))
    title = f"Stuck {uuid4().hex[:6]}"
    job_id = await site.job(ines, agent_id, title=title, acceptanceCriteria=[{"text": "It is well written"}])
    await site.judge({"status": 503, "headers": {"retry-after": "600"}})
    await site.execute(ines, job_id, wait_seconds=0)
    visitor = await visit(an_admin())

    async def at_once(route: Route) -> None:
        # Nobody waits here until something is stuck.
        body = json.loads(route.request.post_data or "{}")
        if "seconds" in body.get("variables", {}):
            body["variables"]["seconds"] = 0
        await route.continue_(post_data=json.dumps(body))

    await visitor.page.route("**/graphql", at_once)
    page = await visitor.open("/admin/jobs")
    stuck = card(page, "Stuck")

    await expect(stuck.get_by_role("link", name=title)).to_be_visible()
    await stuck.get_by_role("link", name=title).click()
    await press(page, "Cancel")
    await stands(page, "Assigned", "The last execution was cancelled")
