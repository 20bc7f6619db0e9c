"""Who registered an agent and changed it, when, and which fields: for admins, without any value."""

from typing import Any

from tests.schema.conftest import Api
from tests.services.conftest import ADMIN, CLIENT

REGISTER = "mutation($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } userErrors { message } } }"
CHANGE = "mutation($input: UpdateAgentInput!) { updateAgent(input: $input) { agent { id } userErrors { message } } }"
CHANGES = """query($id: ID!, $first: Int, $after: String) { agent(id: $id) { changes(first: $first, after: $after) {
  totalCount nodes { timestamp actor { id displayName role } fields } pageInfo { hasNextPage endCursor } } } }"""
SECRET = "a credential that is told to nobody"


async def registered(api: Api) -> str:
    draft = {"name": "An agent", "endpointUrl": "http://127.0.0.1:9/", "executor": "fake", "secret": SECRET}
    made = (await api.by(ADMIN).data(REGISTER, input=draft))["createAgent"]
    assert made["userErrors"] == []
    return str(made["agent"]["id"])


async def changes(api: Api, agent_id: str, **variables: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await api.by(ADMIN).data(CHANGES, id=agent_id, **variables))["agent"]["changes"]
    return found


async def test_each_edit_leaves_who_when_and_which_fields(api: Api) -> None:
    agent_id = await registered(api)
    for edit in (
        {"timeoutSeconds": 30, "name": "Another name"},
        {"secret": SECRET + " any more", "enabled": False},
        {"name": "Another name", "secret": SECRET + " any more"},  # nothing of it is new
        {"inputSchema": {"type": "object"}},
    ):
        assert (await api.by(ADMIN).data(CHANGE, input={"agentId": agent_id, **edit}))["updateAgent"][
            "userErrors"
        ] == []

    found = await changes(api, agent_id)

    assert [set(change["fields"]) for change in found["nodes"]] == [
        {"inputSchema"},
        {"secret", "enabled"},
        {"timeoutSeconds", "name"},
        {"name", "endpointUrl", "executor", "secret"},
    ]
    assert {str(change["actor"]) for change in found["nodes"]} == {
        str({"id": "ada", "displayName": "Ada", "role": "ADMIN"})
    }
    times = [change["timestamp"] for change in found["nodes"]]
    assert times == sorted(times, reverse=True)
    assert SECRET not in str(found)


async def test_they_come_in_pages(api: Api) -> None:
    agent_id = await registered(api)
    for seconds in (1, 2, 3):
        await api.by(ADMIN).data(CHANGE, input={"agentId": agent_id, "timeoutSeconds": seconds})

    first = await changes(api, agent_id, first=3)
    rest = await changes(api, agent_id, first=3, after=first["pageInfo"]["endCursor"])

    assert (first["totalCount"], len(first["nodes"]), first["pageInfo"]["hasNextPage"]) == (4, 3, True)
    assert [change["fields"] for change in rest["nodes"]] == [["name", "endpointUrl", "executor", "secret"]]


async def test_what_is_refused_leaves_nothing(api: Api) -> None:
    agent_id = await registered(api)
    await api.by(ADMIN).data(CHANGE, input={"agentId": agent_id, "timeoutSeconds": -1})
    await api.data(CHANGE, input={"agentId": agent_id, "timeoutSeconds": 5})

    assert (await changes(api, agent_id))["totalCount"] == 1


async def test_a_client_may_not_ask(api: Api) -> None:
    agent_id = await registered(api)

    code, message = await api.by(CLIENT).error(CHANGES, id=agent_id)

    assert (code, message) == ("FORBIDDEN", "Only an admin may read who changed an agent.")
