"""Everybody can use the pages: with a screen reader, with the keyboard alone, on a phone, in the dark."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

from axe_playwright_python.base import AXE_SCRIPT  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]
from playwright.async_api import Locator, Page, expect

from app.demo_agents import contacts
from app.demo_jobs import OTHER_JOBS, SHOWN_JOB
from tests.agents import Response
from tests.browser.conftest import DESKTOP, PHONE, a_client, an_admin
from tests.browser.steps import card, log_entry, press, stands

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.browser.conftest import Site, StartAgent, Visiting

# Everything that axe knows in one colour scheme; in the other what differs there.
SCHEMES: Mapping[Literal["light", "dark"], Any] = {"light": {}, "dark": {"runOnly": ["color-contrast"]}}
# What a browser keeps for scroll bars, and for halves of pixels.
SLACK_PIXELS = 1


async def problems(page: Page, what: str) -> list[str]:
    """What axe finds, and whether the page is wider than the screen, in every colour scheme and on every screen."""
    found: list[str] = []
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE_SCRIPT)
    for size in (PHONE, DESKTOP):
        await page.set_viewport_size(size)
        wider = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if wider > SLACK_PIXELS:
            found.append(f"{what} at {size['width']} px: {wider} px wider than the screen")
        for scheme, options in SCHEMES.items():
            await page.emulate_media(color_scheme=scheme)
            results = await page.evaluate(
                "options => axe.run(document, options)", {"resultTypes": ["violations"], **options}
            )
            found.extend(
                f"{what} at {size['width']} px, {scheme}: {violation['id']} at {node['html']}: {node['failureSummary']}"
                for violation in results["violations"]
                for node in violation["nodes"]
            )
    return found


async def test_signing_in_is_for_all(visit: Visiting) -> None:
    page = await (await visit(None)).open("/login")

    found = await problems(page, "the login")

    assert not found, "\n".join(found)


async def test_the_jobs_are_for_all(site: Site, visit: Visiting) -> None:
    ines = a_client()
    visitor = await visit(ines)
    page = await visitor.open("/jobs")
    await expect(page.get_by_text("You have no jobs yet")).to_be_visible()
    found = await problems(page, "no jobs")
    for job, agent, _ in OTHER_JOBS:
        await site.job(ines, site.agents[agent] if agent else None, **job)
    await expect(page.get_by_role("link", name="Translate the invitation")).to_be_visible()
    found += await problems(page, "jobs")
    await press(page, "New job")
    await press(page, "Add a criterion")
    await page.get_by_role("combobox", name="How criterion 1 is checked").select_option("Checked by a JSON schema")
    found += await problems(page, "a new job")
    await visitor.open("/jobs/job_01m87zrk1gemdvk158wh92em7q")
    found += await problems(page, "an unknown job")

    assert not found, "\n".join(found)


async def test_a_job_is_for_all_whatever_its_status(site: Site, visit: Visiting) -> None:
    ines = a_client()
    page = await (await visit(ines)).open(f"/jobs/{await site.job(ines, **SHOWN_JOB)}")
    found = await problems(page, "a job without an agent")
    await press(page, "Assign an agent")
    await page.get_by_role("combobox", name="Agent", exact=True).select_option(contacts.NAME)
    found += await problems(page, "assigning")
    await press(page, "Assign")
    await stands(page, "Assigned", "Ready")
    await page.get_by_text("What Execute would send").click()
    await expect(page.get_by_role("region", name="Request")).to_be_visible()
    found += await problems(page, "a job that is ready")
    await press(page, "Execute")
    await stands(page, "Re-submission Required")
    await log_entry(page, "Agent answered").or_(log_entry(page, "HTTP 200")).first.click()
    await expect(page.get_by_role("region", name="Payload").first).to_be_visible()
    found += await problems(page, "a job to be done again")
    await press(page, "Edit")
    found += await problems(page, "an edit")
    await page.keyboard.press("Escape")
    await press(page, "Execute again")
    await stands(page, "Completed")
    found += await problems(page, "a completed job")

    assert not found, "\n".join(found)


async def test_an_execution_is_for_all(site: Site, visit: Visiting, start_agent: StartAgent) -> None:
    ines = a_client()
    go = asyncio.Event()
    answer = {"summary": "We meet in Porto on Friday."}
    _, agent_id = await start_agent(Response(answer, after=go))
    job_id = await site.job(ines, agent_id, acceptanceCriteria=[{"text": "The city is the right one"}])
    [criterion_id] = await site.criteria(ines, job_id)
    evidence = {"id": criterion_id, "verdict": "fail", "rationale": "It is Lisbon.", "evidence": ["in Porto"]}
    await site.judge({"answer": {"results": [evidence]}})
    page = await (await visit(ines)).open(f"/jobs/{job_id}")
    await press(page, "Execute")
    await stands(page, "In Execution", "Calling the agent")
    found = await problems(page, "an execution")
    go.set()
    await stands(page, "Re-submission Required")
    found += await problems(page, "evidence in an answer")

    assert not found, "\n".join(found)


async def test_the_admins_pages_are_for_all(site: Site, visit: Visiting, start_agent: StartAgent) -> None:
    ines = a_client()
    _, agent_id = await start_agent(Response(), name="Ever ready")
    job_id = await site.job(ines, agent_id)
    await site.execute(ines, job_id)
    visitor = await visit(an_admin())
    page = await visitor.open("/admin/jobs")
    await expect(card(page, "Jobs").get_by_role("row").nth(1)).to_be_visible()
    found = await problems(page, "everybody's jobs")
    await visitor.open(f"/admin/jobs/{job_id}")
    await press(page, "Force completion")
    found += await problems(page, "an override")
    await visitor.open("/admin/agents")
    await expect(page.get_by_role("link", name="Accepted: The summary").first).to_be_visible()
    found += await problems(page, "agents")
    await press(page, "Register an agent")
    found += await problems(page, "a new agent")
    await page.keyboard.press("Escape")
    await card(page, "Ever ready").get_by_role("button", name="Preview a request").click()
    await expect(page.get_by_role("region", name="Request")).to_be_visible()
    found += await problems(page, "a preview")

    assert not found, "\n".join(found)


# ------------------------------------------------------------------------------------------------ the keyboard alone


async def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until the target has the focus, as somebody without a mouse does."""
    await expect(target).to_be_visible()
    for _ in range(60):
        if await target.evaluate("element => element === document.activeElement"):
            # And they see where they are.
            await expect(target).to_be_in_viewport()
            return
        await page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not lead to {target}")


async def enter(page: Page, name: str, *, within: Page | Locator | None = None) -> None:
    await tab_to(page, (within or page).get_by_role("button", name=name, exact=True))
    await page.keyboard.press("Enter")


async def test_the_keyboard_alone_does_everything(site: Site, visit: Visiting) -> None:
    ines = a_client()
    visitor = await visit(None)
    page = await visitor.open("/login")
    keyboard = page.keyboard

    await tab_to(page, page.get_by_label("Access token"))
    await keyboard.insert_text(site.token(ines))
    await keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")

    await enter(page, "New job")
    form = page.get_by_role("dialog", name="New job")
    # A dialog takes the focus, and keeps it.
    await expect(form.get_by_label("Title")).to_be_focused()
    await keyboard.insert_text("By hand")
    await tab_to(page, form.get_by_label("Input"))
    await keyboard.press("Control+A")
    await keyboard.insert_text('{"thread": "From: Ana Ruiz <ana@ruiz-vineyards.example>"}')
    await tab_to(page, form.get_by_role("textbox", name="Criterion 1"))
    await keyboard.insert_text("Somebody is found")
    await tab_to(page, form.get_by_role("combobox", name="How criterion 1 is checked"))
    await keyboard.press("ArrowDown")
    await tab_to(page, form.get_by_label("CEL expression"))
    await keyboard.insert_text("size(answer.contacts) > 0")
    await enter(page, "Create", within=form)
    await expect(page.get_by_role("heading", level=1)).to_have_text("By hand")
    # Whoever hears the page hears which one it is now.
    await expect(page.get_by_role("heading", level=1)).to_be_focused()

    await enter(page, "Assign an agent")
    dialog = page.get_by_role("dialog")
    select = dialog.get_by_role("combobox", name="Agent", exact=True)
    await expect(select).to_be_focused()
    await keyboard.type(contacts.NAME)
    await enter(page, "Assign", within=dialog)
    await stands(page, "Assigned", "Ready")

    await enter(page, "Execute")
    await stands(page, "Completed", "Signed off")
    # The button is gone, and the focus with it: it is where one reads what came of it.
    await expect(page.get_by_role("heading", name="Signed off")).to_be_focused()
    await tab_to(page, log_entry(page, "In Execution → Completed"))
    await keyboard.press("Enter")
    await expect(log_entry(page, "In Execution → Completed")).to_have_attribute("aria-expanded", "true")

    await page.reload()
    await expect(page.get_by_role("heading", level=1)).to_have_text("By hand")
    await keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    await tab_to(page, skip)
    await enter(page, "Sign out")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to Signoff")


async def test_a_dialog_gives_the_focus_back(site: Site, visit: Visiting) -> None:
    ines = a_client()
    page = await (await visit(ines)).open(f"/jobs/{await site.job(ines)}")

    await enter(page, "Edit")
    await expect(page.get_by_role("dialog", name="Edit the job").get_by_label("Title")).to_be_focused()
    await page.keyboard.press("Escape")

    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(page.get_by_role("button", name="Edit", exact=True)).to_be_focused()


async def test_what_was_typed_is_not_lost_with_one_key(site: Site, visit: Visiting) -> None:
    ines = a_client()
    page = await (await visit(ines)).open(f"/jobs/{await site.job(ines)}")
    await press(page, "Edit")
    form = page.get_by_role("dialog", name="Edit the job")
    description = form.get_by_label("Description")
    question = page.get_by_role("dialog", name="Discard what you have typed?")

    await description.fill("An hour's work")
    await page.keyboard.press("Escape")
    await expect(question.get_by_role("button", name="Keep editing")).to_be_focused()
    assert not await problems(page, "a question")
    await page.keyboard.press("Escape")
    await expect(question).to_have_count(0)
    await expect(description).to_have_value("An hour's work")
    await expect(description).to_be_focused()

    await form.get_by_role("button", name="Close").click()
    await press(page, "Discard")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(page.get_by_role("button", name="Edit", exact=True)).to_be_focused()
