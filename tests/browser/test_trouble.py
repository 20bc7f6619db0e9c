"""The page goes on when what it stands on does not: sockets, networks, sessions, other people's jobs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from playwright.async_api import Route, WebSocket, WebSocketRoute, expect

from tests.agents import Response
from tests.browser.conftest import PHONE, a_client, an_admin, give_session
from tests.browser.steps import card, log_entry, press, stands

if TYPE_CHECKING:
    from tests.browser.conftest import Site, StartAgent, Visiting

LIVE, LOST = "Live", "Connection lost: read again every few seconds"


async def test_a_lost_socket_is_polled_for_and_then_resumed(
    site: Site, visit: Visiting, start_agent: StartAgent
) -> None:
    ines = a_client()
    _, agent_id = await start_agent(Response(status=500), Response())
    job_id = await site.job(ines, agent_id)
    visitor = await visit(ines)
    page = visitor.page
    sockets: list[WebSocketRoute] = []
    reachable = True

    async def connect(socket: WebSocketRoute) -> None:
        if reachable:
            socket.connect_to_server()
            sockets.append(socket)
        else:
            await socket.close(code=1013)

    await page.route_web_socket("**/graphql", connect)
    await visitor.open(f"/jobs/{job_id}")
    state = page.get_by_role("main").get_by_role("status")
    await expect(state).to_have_text(LIVE)

    reachable = False
    await sockets[-1].close()
    await expect(state).to_have_text(LOST)
    # What happens now reaches the page by polling alone.
    assert await site.execute(ines, job_id) == "ASSIGNED"
    await stands(page, "Assigned", "The agent failed")
    await expect(log_entry(page, "In Execution → Assigned")).to_have_count(1)
    await expect(state).to_have_text(LOST)

    reachable = True
    # What the browser says when it has a network again; without that, the page tries less and less often.
    await page.evaluate("dispatchEvent(new Event('online'))")
    await expect(state).to_have_text(LIVE)
    # And what happens after that by the socket again; nothing is shown twice.
    assert await site.execute(ines, job_id) == "COMPLETED"
    await stands(page, "Completed", "Signed off")
    await expect(log_entry(page, "In Execution → Assigned")).to_have_count(1)
    await expect(log_entry(page, "In Execution → Completed")).to_have_count(1)


async def test_without_a_network_the_page_says_so_and_comes_back_by_itself(
    site: Site, visit: Visiting, start_agent: StartAgent
) -> None:
    ines = a_client()
    go = asyncio.Event()
    _, agent_id = await start_agent(Response(after=go))
    job_id = await site.job(ines, agent_id)
    visitor = await visit(ines)
    visitor.expects("ERR_INTERNET_DISCONNECTED")
    page = await visitor.open(f"/jobs/{job_id}")

    await press(page, "Execute")
    await stands(page, "In Execution", "Calling the agent")
    await visitor.context.set_offline(True)
    await expect(page.get_by_text("You are offline.")).to_be_visible()
    go.set()
    await visitor.context.set_offline(False)

    await stands(page, "Completed")
    await expect(page.get_by_text("You are offline.")).to_have_count(0)


async def test_a_page_that_could_not_be_read_is_read_once_the_service_is_back(site: Site, visit: Visiting) -> None:
    ines = a_client()
    job_id = await site.job(ines, title="The one I wanted")
    visitor = await visit(ines)
    visitor.expects("ERR_CONNECTION_REFUSED", "WebSocket connection")
    page = await visitor.open("/jobs")

    await page.route("**/graphql", lambda route: route.abort("connectionrefused"))
    await page.get_by_role("link", name="The one I wanted").click()
    await expect(page.get_by_role("alert")).to_contain_text("could not be reached")
    await page.unroute("**/graphql")

    # Nobody presses anything.
    await expect(page.get_by_role("heading", level=1)).to_have_text("The one I wanted")
    await expect(page.get_by_role("main").get_by_role("status")).to_have_text(LIVE)
    await expect(page).to_have_url(f"{site.url}/jobs/{job_id}")


async def test_a_page_that_could_not_be_loaded_is_loaded_once_the_service_is_back(visit: Visiting) -> None:
    visitor = await visit(an_admin())
    visitor.expects("ERR_CONNECTION_REFUSED", "could not be reached", "WebSocket connection")
    page = await visitor.open("/admin/jobs")

    for path in ("**/graphql", "**/assets/*"):
        await page.route(path, lambda route: route.abort("connectionrefused"))
    await page.get_by_role("link", name="Agents").click()
    await expect(page.get_by_role("alert")).to_contain_text("could not be reached")
    await page.unroute_all()

    await expect(page.get_by_role("heading", level=1)).to_have_text("Agents")


async def test_an_answer_that_is_lost_is_no_second_execution(
    site: Site, visit: Visiting, start_agent: StartAgent
) -> None:
    ines = a_client()
    agent, agent_id = await start_agent(Response())
    job_id = await site.job(ines, agent_id)
    visitor = await visit(ines)
    visitor.expects("ERR_CONNECTION_RESET")
    page = await visitor.open(f"/jobs/{job_id}")
    lost: list[str] = []

    async def lose_the_first(route: Route) -> None:
        if "executeJob" in (route.request.post_data or "") and not lost:
            await route.fetch()
            lost.append(route.request.url)
            await route.abort("connectionreset")
        else:
            await route.continue_()

    await page.route("**/graphql", lose_the_first)
    await press(page, "Execute")

    await stands(page, "Completed", "Signed off")
    await expect(page.get_by_role("alert")).to_have_count(0)
    assert len(lost) == 1
    await expect(card(page, "Attempts").get_by_text("1 attempt", exact=True)).to_be_visible()
    assert len(agent.requests) == 1


async def test_a_job_of_whose_creation_no_answer_came_is_created_once(site: Site, visit: Visiting) -> None:
    visitor = await visit(a_client())
    visitor.expects("ERR_CONNECTION_RESET")
    page = await visitor.open("/jobs")
    is_lost = True

    async def lose_the_answer(route: Route) -> None:
        if "createJob" in (route.request.post_data or "") and is_lost:
            await route.fetch()
            await route.abort("connectionreset")
        else:
            await route.continue_()

    await page.route("**/graphql", lose_the_answer)
    await press(page, "Create the first one")
    form = page.get_by_role("dialog", name="New job")
    await form.get_by_label("Title").fill("Once")
    await form.get_by_role("textbox", name="Criterion 1").fill("Is there")
    await press(page, "Create")
    await expect(form.get_by_role("alert")).to_contain_text("could not be reached")
    is_lost = False
    await press(page, "Create")

    await expect(page.get_by_role("heading", level=1)).to_have_text("Once")
    await page.get_by_role("link", name="Jobs", exact=True).first.click()
    await expect(page.get_by_role("link", name="Once")).to_have_count(1)


async def test_what_went_wrong_is_forgotten_once_the_job_has_moved_on(
    site: Site, visit: Visiting, start_agent: StartAgent
) -> None:
    ines = a_client()
    go = asyncio.Event()
    _, agent_id = await start_agent(Response(after=go))
    visitor = await visit(ines)
    visitor.expects("ERR_CONNECTION_REFUSED")
    page = await visitor.open(f"/jobs/{await site.job(ines, agent_id)}")
    executions: list[str] = []

    async def lose_the_cancelling(route: Route) -> None:
        asked = route.request.post_data or ""
        if "executeJob" in asked:
            executions.append(asked)
        if "cancelExecution" in asked:
            await route.abort("connectionrefused")
        else:
            await route.continue_()

    await page.route("**/graphql", lose_the_cancelling)
    # Two clicks before the button is drawn as disabled are one press.
    execute = page.get_by_role("button", name="Execute", exact=True)
    await execute.evaluate("button => { button.click(); button.click() }")
    await stands(page, "In Execution", "Calling the agent")
    assert len(executions) == 1
    await expect(page.get_by_role("alert")).to_have_count(0)
    await press(page, "Cancel")
    await expect(page.get_by_role("alert")).to_contain_text("could not be reached")
    await expect(page.get_by_role("heading", name="Calling the agent")).to_be_focused()
    go.set()

    await stands(page, "Completed", "Signed off")
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_a_refusal_is_shown_where_it_happened_in_the_services_words(
    site: Site, visit: Visiting, start_agent: StartAgent
) -> None:
    ines = a_client()
    _, agent_id = await start_agent(Response())
    job_id = await site.job(ines, agent_id, acceptanceCriteria=[{"text": f"Point {number}"} for number in range(6)])
    visitor = await visit(ines)
    page = await visitor.open(f"/jobs/{job_id}")
    await page.set_viewport_size(PHONE)
    await press(page, "Edit")
    form = page.get_by_role("dialog", name="Edit the job")
    await form.get_by_label("Description").fill("Mine")

    # Meanwhile, in another place, the job is executed.
    assert await site.execute(ines, job_id) == "COMPLETED"
    await press(page, "Save")

    # It belongs to no field: however long the form is, it is in sight, and the keyboard goes on from there.
    refusal = form.get_by_role("alert")
    await expect(refusal).to_contain_text("COMPLETED")
    await expect(refusal).to_be_in_viewport(ratio=1)
    await expect(refusal).to_be_focused()
    await expect(form.get_by_label("Description")).to_have_value("Mine")
    # Nor is nothing to be seen where something typed cannot be sent.
    await form.get_by_label("Input").fill("{")
    await press(page, "Save")
    await expect(form.get_by_label("Input")).to_be_focused()


async def test_an_edit_that_comes_second_goes_on_from_the_first(site: Site, visit: Visiting) -> None:
    ines = a_client()
    job_id = await site.job(ines)
    page = await (await visit(ines)).open(f"/jobs/{job_id}")
    await press(page, "Edit")
    form = page.get_by_role("dialog", name="Edit the job")
    await form.get_by_label("Description").fill("Mine")

    # Meanwhile, in another place, the same job is edited.
    edit = "mutation($input: UpdateJobInput!) { updateJob(input: $input) { userErrors { message } } }"
    await site.ask(ines, edit, input={"jobId": job_id, "expectedRevision": 1, "title": "Theirs"})
    await press(page, "Save")
    await expect(form.get_by_role("alert")).to_contain_text("changed while you were editing")
    await expect(form.get_by_role("definition")).to_have_text(["Title", "Description"])
    await expect(form.get_by_role("button", name="Keep my changes")).to_be_focused()
    await press(page, "Keep my changes")
    await expect(form.get_by_label("Title")).to_be_focused()
    await expect(form.get_by_label("Title")).to_have_value("Theirs")
    await press(page, "Save")

    await expect(form).to_have_count(0)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Theirs")
    await expect(page.get_by_text("Mine", exact=True)).to_be_visible()

    await press(page, "Edit")
    await form.get_by_label("Title").fill("Mine")
    await site.ask(ines, edit, input={"jobId": job_id, "expectedRevision": 3, "title": "Theirs again"})
    await press(page, "Save")
    await expect(form.get_by_text("You both changed Title.")).to_be_visible()
    await press(page, "Discard mine, load what was saved")
    await expect(form.get_by_label("Title")).to_have_value("Theirs again")
    # Nothing is left to save.
    await press(page, "Save")
    await expect(form).to_have_count(0)
    await expect(page.get_by_text("revision 4")).to_be_visible()


async def test_another_persons_job_is_as_if_unknown(site: Site, visit: Visiting) -> None:
    job_id = await site.job(a_client(), title="Private")
    visitor = await visit(a_client())
    # Of an address that is no page's, the service says so as well.
    visitor.expects("status of 404")
    known = (f"/jobs/{job_id}", f"/admin/jobs/{job_id}", "/admin/agents")

    for path in (*known, "/jobs/job_01m87zrk1gemdvk158wh92em7q", "/jobz"):
        page = await visitor.open(path)
        await expect(page.get_by_role("heading", level=1)).to_have_text("There is nothing here")
        await expect(page.get_by_text("Private")).to_have_count(0)

    await (await visit(an_admin())).open(f"/jobs/{job_id}")


async def test_signing_in_with_a_token_leads_to_where_one_wanted_to_go(site: Site, visit: Visiting) -> None:
    ines = a_client()
    job_id = await site.job(ines, title="The one I wanted")
    visitor = await visit(None)
    visitor.expects("status of 401")
    page = await visitor.open(f"/jobs/{job_id}?log=status")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to Signoff")

    await page.get_by_label("Access token").fill("not.a.token")
    await press(page, "Sign in")
    await expect(page.get_by_text("The token is not valid.")).to_be_visible()
    await page.get_by_label("Access token").fill(site.token(ines))
    await press(page, "Sign in")

    await expect(page.get_by_role("heading", level=1)).to_have_text("The one I wanted")
    await expect(page).to_have_url(f"{site.url}/jobs/{job_id}?log=status")
    # No script may read the session.
    assert await page.evaluate("document.cookie") == ""

    other = await visitor.context.new_page()
    await other.goto(f"{site.url}/jobs")
    await expect(other.get_by_role("heading", level=1)).to_have_text("Jobs")
    await press(page, "Sign out")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to Signoff")
    # In all tabs at once, and nobody has to press anything there.
    await expect(other.get_by_role("heading", level=1)).to_have_text("Sign in to Signoff")
    await page.goto(f"{site.url}/jobs")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to Signoff")


async def test_whoever_cannot_be_signed_out_is_told(visit: Visiting) -> None:
    visitor = await visit(a_client())
    visitor.expects("ERR_CONNECTION_REFUSED", "status of 503")
    page = await visitor.open("/jobs")

    for trouble in (lambda route: route.abort("connectionrefused"), lambda route: route.fulfill(status=503)):
        await page.route("**/logout", trouble)
        await press(page, "Sign out")
        await expect(page.get_by_role("alert")).to_contain_text("You may still be signed in")
        await expect(page).to_have_url(f"{visitor.url}/jobs")
        await page.unroute("**/logout")
        await page.reload()

    await press(page, "Sign out")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to Signoff")


async def test_one_click_is_enough_in_the_demo(visit: Visiting) -> None:
    page = await (await visit(None)).open("/login")
    sockets: list[WebSocket] = []
    page.on("websocket", lambda socket: sockets.append(socket))  # noqa: PLW0108  (it sets attributes)
    state = page.get_by_role("main").get_by_role("status")

    await press(page, "Ada, an admin")
    await expect(page.get_by_role("heading", level=1)).to_have_text("All jobs")
    await expect(state).to_have_text(LIVE)
    await press(page, "Sign out")
    await press(page, "Inês, a client")

    await expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
    await expect(page.get_by_role("link", name="Agents")).to_have_count(0)
    # What comes live is hers: the socket on which the service knows the other one is gone.
    await expect(state).to_have_text(LIVE)
    admins, clients = sockets
    if not admins.is_closed():
        await admins.wait_for_event("close")
    assert not clients.is_closed()


async def test_a_login_leads_nowhere_else(site: Site, visit: Visiting) -> None:
    visitor = await visit(None)
    page = await visitor.open("/login?next=//elsewhere.example/jobs")

    await press(page, "Inês, a client")

    await expect(page).to_have_url(f"{site.url}/jobs")


async def test_whose_session_has_expired_signs_in_again(site: Site, visit: Visiting) -> None:
    ines = a_client()
    visitor = await visit(ines)
    visitor.expects("status of 401")
    page = await visitor.open("/jobs")
    await visitor.context.clear_cookies()
    await give_session(visitor.context, site, "an.old.one")

    await page.reload()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to Signoff")
    await page.get_by_label("Access token").fill(site.token(ines))
    await press(page, "Sign in")

    await expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")


async def test_whose_session_ends_while_a_job_is_followed_is_sent_to_sign_in(site: Site, visit: Visiting) -> None:
    ines = a_client()
    job_id = await site.job(ines)
    visitor = await visit(ines)
    # Where the next socket is slow to come, the page asks meanwhile.
    visitor.expects("status of 401")
    page = visitor.page
    sockets: list[WebSocketRoute] = []

    def connect(socket: WebSocketRoute) -> None:
        socket.connect_to_server()
        sockets.append(socket)

    await page.route_web_socket("**/graphql", connect)
    await visitor.open(f"/jobs/{job_id}")
    await expect(page.get_by_role("main").get_by_role("status")).to_have_text(LIVE)

    # A cookie goes when its token ends, and the service ends the socket.
    await visitor.context.clear_cookies()
    await sockets[-1].close()

    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to Signoff")


async def test_filters_are_in_the_address(site: Site, visit: Visiting, start_agent: StartAgent) -> None:
    ines = a_client()
    _, agent_id = await start_agent(Response(status=500))
    await site.job(ines, title="A plum")
    job_id = await site.job(ines, agent_id, title="An apple")
    await site.job(ines, agent_id, title="A pear")
    await site.execute(ines, job_id)
    visitor = await visit(ines)
    page = await visitor.open("/jobs")
    jobs = card(page, "Your jobs").get_by_role("listitem")
    await expect(jobs).to_have_count(3)

    await press(page, "Assigned")
    await expect(jobs).to_have_count(2)
    await page.get_by_role("searchbox").fill("apple")
    await expect(jobs).to_have_count(1)
    await expect(page).to_have_url(f"{site.url}/jobs?status=assigned&search=apple")
    await page.reload()
    await expect(jobs).to_have_count(1)
    await expect(page.get_by_role("searchbox")).to_have_value("apple")
    await expect(page.get_by_role("button", name="Assigned")).to_have_attribute("aria-pressed", "true")

    await page.get_by_role("link", name="An apple").click()
    await expect(log_entry(page, "Pending")).not_to_have_count(0)
    await press(page, "Problems only")
    await expect(log_entry(page, "Pending")).to_have_count(0)
    await expect(log_entry(page, "HTTP 500")).to_have_count(1)
    await page.reload()
    await expect(log_entry(page, "HTTP 500")).to_have_count(1)
    await expect(log_entry(page, "Pending")).to_have_count(0)
