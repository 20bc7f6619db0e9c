"""What a client does, from a new job to its result, clicked through."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from playwright.async_api import Route, expect

from app.demo_agents import contacts
from app.demo_jobs import THREAD
from tests.agents import Response
from tests.browser.conftest import a_client
from tests.browser.steps import card, log_entry, press, stands

if TYPE_CHECKING:
    from tests.browser.conftest import Site, StartAgent, Visiting


async def test_a_job_from_its_creation_to_its_result(site: Site, visit: Visiting) -> None:
    page = await (await visit(a_client())).open("/jobs")

    await press(page, "Create the first one")
    form = page.get_by_role("dialog", name="New job")
    await form.get_by_label("Title").fill("Contacts from the thread")
    await form.get_by_label("Description").fill("Everybody once.")
    await form.get_by_label("Input").fill('{"thread": "From: Ana Ruiz <ana@ruiz-vineyards.example>"}')
    first = form.get_by_role("group", name="Criterion 1")
    await first.get_by_role("textbox", name="Criterion 1").fill("Somebody is found")
    await first.get_by_role("combobox").select_option("Checked by an expression")
    await first.get_by_label("CEL expression").fill("size(answer.contacts) > 0")
    await press(page, "Add a criterion")
    second = form.get_by_role("group", name="Criterion 2")
    await second.get_by_role("textbox", name="Criterion 2").fill("Names read well")
    await press(page, "Create")

    await expect(page.get_by_role("heading", level=1)).to_have_text("Contacts from the thread")
    await stands(page, "Pending", "No agent yet")
    await expect(page.get_by_role("button", name="Execute", exact=True)).to_have_count(0)
    await press(page, "Assign an agent")
    await page.get_by_role("combobox", name="Agent", exact=True).select_option(contacts.NAME)
    await press(page, "Assign")

    await stands(page, "Assigned", "Ready")
    await press(page, "Execute")

    await stands(page, "Completed", "Signed off")
    await expect(card(page, "Result").get_by_text("ana@ruiz-vineyards.example")).to_be_visible()
    await expect(page.get_by_role("button", name="Execute")).to_have_count(0)
    await expect(log_entry(page, "In Execution → Completed")).to_be_visible()
    await page.get_by_role("link", name="Jobs", exact=True).first.click()
    await expect(page.get_by_role("link", name="Contacts from the thread")).to_contain_text("Completed")


async def test_a_rejected_answer_is_explained_mended_and_signed_off(
    site: Site, visit: Visiting, start_agent: StartAgent
) -> None:
    ines = a_client()
    agent, agent_id = await start_agent(
        Response({"summary": "We meet in Porto on Friday."}), Response({"summary": "We meet in Lisbon on Friday."})
    )
    job_id = await site.job(ines, agent_id, acceptanceCriteria=[{"text": "The city is the right one"}])
    [criterion_id] = await site.criteria(ines, job_id)
    found = {"id": criterion_id, "verdict": "fail", "rationale": "It is Lisbon.", "evidence": ["in Porto on Friday"]}
    await site.judge({"answer": {"results": [found]}})
    page = await (await visit(ines)).open(f"/jobs/{job_id}")

    await press(page, "Execute")

    await stands(page, "Re-submission Required", "Not signed off: its criterion failed")
    criteria = card(page, "Acceptance criteria")
    await expect(criteria.get_by_text("It is Lisbon.")).to_be_visible()
    await expect(criteria.get_by_role("link", name="“in Porto on Friday”")).to_be_visible()
    await expect(card(page, "Answer of attempt 1").locator("mark")).to_have_text("in Porto on Friday")

    await press(page, "Edit")
    form = page.get_by_role("dialog", name="Edit the job")
    await form.get_by_label("Description").fill("The meeting has moved to Lisbon.")
    await press(page, "Save")
    await expect(page.get_by_text("The meeting has moved to Lisbon.")).to_be_visible()
    await press(page, "Execute again")

    await stands(page, "Completed", "Signed off")
    await expect(card(page, "Result").get_by_text("We meet in Lisbon on Friday.")).to_be_visible()
    attempts = card(page, "Attempts")
    await expect(attempts.get_by_text("Rejected", exact=True)).to_be_visible()
    await expect(attempts.get_by_text("Accepted", exact=True)).to_be_visible()
    await expect(attempts.get_by_role("columnheader", name="Attempt 2")).to_be_visible()
    told = agent.requests[1].json()
    assert told["failed_criteria"][0]["rationale"] == "It is Lisbon."
    assert told["description"] == "The meeting has moved to Lisbon."


async def test_numbers_stay_as_they_were_written(site: Site, visit: Visiting, start_agent: StartAgent) -> None:
    ines = a_client()
    # JavaScript has no such integer, and takes 1.0 for 1, which CEL and an agent may not.
    numbers = {"id": 9007199254740993, "rate": 1.0}
    agent, agent_id = await start_agent(Response({"ok": True, **numbers}))
    job_id = await site.job(ines, agent_id, input=numbers)
    page = await (await visit(ines)).open(f"/jobs/{job_id}")

    await press(page, "Edit")
    form = page.get_by_role("dialog", name="Edit the job")
    await expect(form.get_by_label("Input")).to_have_value(json.dumps(numbers, indent=2))
    await form.get_by_label("Input").fill('{"id": 9007199254740993, "rate": 1.0, "limit": 2.0}')
    await press(page, "Save")
    await expect(form).to_have_count(0)
    await press(page, "Execute")
    await stands(page, "Completed")

    sent = agent.requests[0].json()["input"]
    assert repr(sent) == repr({**numbers, "limit": 2.0})
    result = card(page, "Result")
    await expect(result.get_by_role("definition")).to_have_text(["true", "9007199254740993", "1.0"])
    await result.get_by_text("JSON", exact=True).click()
    await expect(result.get_by_role("list", name="Result")).to_contain_text("id:9007199254740993,")
    await expect(result.get_by_role("list", name="Result")).to_contain_text("rate:1.0")
    async with page.expect_download() as download:
        await press(page, "Download")
    assert (await (await download.value).path()).read_text() == json.dumps({"ok": True, **numbers}, indent=2)


async def test_the_demo_agent_mends_what_it_is_told(site: Site, visit: Visiting) -> None:
    ines = a_client()
    criteria = [{"text": "Three numbers are there", "check": {"expression": "size(answer.phones) == 3"}}]
    job_id = await site.job(ines, site.agents[contacts.NAME], input={"thread": THREAD}, acceptanceCriteria=criteria)
    page = await (await visit(ines)).open(f"/jobs/{job_id}")

    await press(page, "Execute")
    await stands(page, "Re-submission Required")
    await press(page, "Execute again")

    await stands(page, "Completed")
    await expect(card(page, "Result").get_by_text("020 7946 0018")).to_be_visible()


async def test_a_doubtful_validator_is_asked_again(site: Site, visit: Visiting, start_agent: StartAgent) -> None:
    ines = a_client()
    agent, agent_id = await start_agent(Response({"summary": "Fine words."}))
    job_id = await site.job(ines, agent_id, acceptanceCriteria=[{"text": "It is well written"}])
    await site.judge(default="unsure")
    page = await (await visit(ines)).open(f"/jobs/{job_id}")

    await press(page, "Execute")
    await stands(page, "Re-submission Required", "Not signed off: somebody has to decide")
    await site.judge(default="pass")
    await press(page, "Validate again")

    await stands(page, "Completed", "Signed off")
    assert len(agent.requests) == 1


async def test_a_job_waits_for_a_validator_that_is_down(site: Site, visit: Visiting, start_agent: StartAgent) -> None:
    ines = a_client()
    agent, agent_id = await start_agent(Response({"summary": "Fine words."}))
    job_id = await site.job(ines, agent_id, acceptanceCriteria=[{"text": "It is well written"}])
    # Longer than anybody waits here: what goes on is asked for.
    await site.judge({"status": 503, "headers": {"retry-after": "600"}})
    page = await (await visit(ines)).open(f"/jobs/{job_id}")

    await press(page, "Execute")
    await stands(page, "In Execution", "Waiting for the validator")
    await expect(page.get_by_role("list", name="Progress").locator("[aria-current=step]")).to_have_text("Validation")
    await expect(page.get_by_text("asked again at")).to_be_visible()
    await press(page, "Validate now")

    await stands(page, "Completed", "Signed off")
    assert len(agent.requests) == 1


async def test_an_agent_that_fails_changes_nothing_and_says_why(
    site: Site, visit: Visiting, start_agent: StartAgent
) -> None:
    ines = a_client()
    _, agent_id = await start_agent(Response(status=500), Response({"ok": True}))
    job_id = await site.job(ines, agent_id)
    page = await (await visit(ines)).open(f"/jobs/{job_id}")

    await press(page, "Execute")
    await stands(page, "Assigned", "The agent failed")
    await expect(page.get_by_text("500").first).to_be_visible()
    await press(page, "Execute again")

    await stands(page, "Completed")


async def test_a_double_click_is_one_execution(site: Site, visit: Visiting, start_agent: StartAgent) -> None:
    ines = a_client()
    go = asyncio.Event()
    agent, agent_id = await start_agent(Response(after=go))
    job_id = await site.job(ines, agent_id)
    page = await (await visit(ines)).open(f"/jobs/{job_id}")

    await page.get_by_role("button", name="Execute", exact=True).dblclick()
    await stands(page, "In Execution", "Calling the agent")
    go.set()
    await stands(page, "Completed")

    await expect(card(page, "Attempts").get_by_text("1 attempt", exact=True)).to_be_visible()
    assert len(agent.requests) == 1


async def test_execute_answers_at_once(site: Site, visit: Visiting, start_agent: StartAgent) -> None:
    ines = a_client()
    go = asyncio.Event()
    _, agent_id = await start_agent(Response(after=go))
    job_id = await site.job(ines, agent_id)
    visitor = await visit(ines)
    page = await visitor.open(f"/jobs/{job_id}")
    # However late the service answers, the page does before.
    held = asyncio.Event()

    async def hold(route: Route) -> None:
        await held.wait()
        await route.continue_()

    await page.route("**/graphql", hold)
    await press(page, "Execute")
    await expect(page.get_by_role("heading", name="Starting")).to_be_visible()
    held.set()
    go.set()

    await stands(page, "Completed")


async def test_a_reload_in_the_middle_goes_on_where_it_was(
    site: Site, visit: Visiting, start_agent: StartAgent
) -> None:
    ines = a_client()
    go = asyncio.Event()
    agent, agent_id = await start_agent(Response(after=go))
    job_id = await site.job(ines, agent_id)
    page = await (await visit(ines)).open(f"/jobs/{job_id}")

    await press(page, "Execute")
    await stands(page, "In Execution", "Calling the agent")
    await page.reload()
    await stands(page, "In Execution", "Calling the agent")
    await expect(page.get_by_role("list", name="Progress").locator("[aria-current=step]")).to_have_text("Agent")
    go.set()

    await stands(page, "Completed")
    assert len(agent.requests) == 1


async def test_a_second_tab_follows(site: Site, visit: Visiting, start_agent: StartAgent) -> None:
    ines = a_client()
    go = asyncio.Event()
    _, agent_id = await start_agent(Response(after=go))
    job_id = await site.job(ines, agent_id)
    visitor = await visit(ines)
    page = await visitor.open(f"/jobs/{job_id}")
    other = await visitor.context.new_page()
    await other.goto(page.url)
    await stands(other, "Assigned", "Ready")

    await press(page, "Execute")
    await stands(other, "In Execution", "Calling the agent")
    await expect(other.get_by_role("button", name="Execute")).to_have_count(0)
    await press(other, "Cancel")

    await stands(page, "Assigned", "The last execution was cancelled")
    go.set()


async def test_a_cancelled_execution_changes_nothing(site: Site, visit: Visiting, start_agent: StartAgent) -> None:
    ines = a_client()
    go = asyncio.Event()
    agent, agent_id = await start_agent(Response(after=go), Response())
    job_id = await site.job(ines, agent_id)
    page = await (await visit(ines)).open(f"/jobs/{job_id}")

    await press(page, "Execute")
    await stands(page, "In Execution", "Calling the agent")
    await agent.called.wait()
    await press(page, "Cancel")
    await stands(page, "Assigned", "The last execution was cancelled")
    go.set()
    await press(page, "Execute again")

    await stands(page, "Completed")
    await expect(card(page, "Attempts").get_by_text("Cancelled", exact=True)).to_be_visible()
