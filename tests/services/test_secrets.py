"""An agent's secret: how it rotates, how its key does, and that no answer brings it back."""

import base64
import logging
from typing import Any

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from app.secrets import StoredSecrets
from app.serving import log_to_stderr
from db import agents as agent_rows
from db.records import Agent, JobStatus
from services.key_rotation import Rotated, rotate_keys
from services.ports import AgentError, AgentRequest, AgentTroubleKind, Delivery
from tests.agents import Received, Response, ScriptedAgent
from tests.fakes import FakeExecutor
from tests.services.conftest import ADMIN, House, OpenHouse

FIRST, SECOND, THIRD = "first-secret-0001", "second-secret-0002", "third-secret-0003"
OLD, NEW = SecretStr("o" * 40), SecretStr("n" * 40)


def signs(request: Received, secret: str) -> bool:
    try:
        Webhook(base64.b64encode(secret.encode()).decode()).verify(request.body, dict(request.headers))
    except WebhookVerificationError:
        return False
    return True


async def called(house: House, agent: Agent, scripted: ScriptedAgent) -> Received:
    job = await house.job(agent)
    result = await house.execute(job)
    assert result.job is not None
    assert result.job.status is JobStatus.COMPLETED
    return scripted.requests[-1]


async def edit(house: House, agent: Agent, **changes: Any) -> Agent:
    result = await house.container.agents.update(ADMIN, agent.id, changes)
    assert result.agent is not None
    assert result.user_errors == ()
    return result.agent


async def test_both_secrets_sign_while_one_replaces_the_other(house: House) -> None:
    async with ScriptedAgent() as scripted:
        agent = await house.agent(scripted.url, secret=FIRST)
        await edit(house, agent, secret=SECOND, name="Renamed")
        request = await called(house, agent, scripted)

        assert request.headers["authorization"] == f"Bearer {SECOND}"
        assert (signs(request, FIRST), signs(request, SECOND), signs(request, THIRD)) == (True, True, False)

        kept = await edit(house, agent, secret=SECOND)  # said again: nothing rotates
        assert kept.previous_secret == f"sealed:{FIRST}"
        await edit(house, agent, secret=THIRD)
        request = await called(house, agent, scripted)
        assert (signs(request, FIRST), signs(request, SECOND), signs(request, THIRD)) == (False, True, True)

        cleared = await edit(house, agent, secret=None)
        assert (cleared.secret, cleared.previous_secret, cleared.previous_secret_until) == (None, None, None)
        request = await called(house, agent, scripted)
        assert "webhook-signature" not in request.headers

        first_again = await edit(house, agent, secret=FIRST)
        assert (first_again.previous_secret, first_again.previous_secret_until) == (None, None)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("overlap", [0.0, 0.001])
async def test_the_secret_before_signs_for_a_bounded_time(open_house: OpenHouse, overlap: float) -> None:
    async with (
        open_house(secret_overlap_seconds=overlap) as house,
        ScriptedAgent() as scripted,
    ):
        agent = await house.agent(scripted.url, secret=FIRST)
        await edit(house, agent, secret=SECOND)
        request = await called(house, agent, scripted)

    assert (signs(request, FIRST), signs(request, SECOND)) == (False, True)


# ------------------------------------------------------------------------------------------------ changing the key


async def test_a_new_key_takes_over_every_stored_secret(open_house: OpenHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.key_rotation.BATCH", 2)
    old, both, new = (StoredSecrets.of(keys) for keys in ([OLD], [NEW, OLD], [NEW]))
    async with open_house(secrets=old) as house:
        database = house.container.database
        plain = await house.agent("http://127.0.0.1:9/")
        agents = [await house.agent("http://127.0.0.1:9/", secret=f"secret-of-number-{n}") for n in range(5)]
        await edit(house, agents[0], secret="another-secret")
        async with database.begin() as tx:
            await agent_rows.change(tx, agents[4].id, {"secret": new.encrypt("already")})

        assert await rotate_keys(database, both, dry_run=True) == Rotated(renewed=5, current=1)
        assert await rotate_keys(database, both) == Rotated(renewed=5, current=1)
        assert await rotate_keys(database, both) == Rotated(renewed=0, current=6)

        async with database.read() as tx:
            stored = await agent_rows.get_many(tx, [agent.id for agent in (plain, *agents)])
        read = [agent and agent.secret and new.decrypt(agent.secret) for agent in stored]
        assert read == [None, "another-secret", *(f"secret-of-number-{n}" for n in (1, 2, 3)), "already"]
        rotating = stored[1]
        assert rotating is not None
        assert rotating.previous_secret is not None
        assert new.decrypt(rotating.previous_secret) == "secret-of-number-0"
        # Nothing but the key has changed.
        assert rotating.previous_secret_until is not None


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_no_key_reads_is_counted_and_left_alone(open_house: OpenHouse) -> None:
    old, new = StoredSecrets.of([OLD]), StoredSecrets.of([NEW])
    async with open_house(secrets=old, secret_overlap_seconds=0.001) as house:
        database = house.container.database
        agent = await house.agent("http://127.0.0.1:9/", secret=FIRST)
        agent = await edit(house, agent, secret=SECOND)

        rotated = await rotate_keys(database, new)

        assert (rotated.renewed, rotated.expired, dict(rotated.unreadable)) == (0, 1, {old.current: 1})
        async with database.read() as tx:
            left = await agent_rows.get(tx, agent.id)
        assert left is not None
        assert (left.secret, left.previous_secret) == (agent.secret, None)


# --------------------------------------------------------------------------------------------------------- echoes


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_an_answer_that_holds_the_agents_secret_is_kept_without_it(open_house: OpenHouse) -> None:
    answer = {"ok": True, "auth": f"Bearer {FIRST}", FIRST: [FIRST, {"before": SECOND}]}
    async with open_house() as house, ScriptedAgent(Response(answer)) as scripted:
        agent = await house.agent(scripted.url, secret=SECOND)
        await edit(house, agent, secret=FIRST)
        job = await house.job(agent)
        result = await house.execute(job)
        log = await house.log(job)

    assert result.job is not None
    assert result.job.result == {
        "ok": True,
        "auth": "Bearer [redacted]",
        "[redacted]": ["[redacted]", {"before": "[redacted]"}],
    }
    assert not any(secret in repr((result, log)) for secret in (FIRST, SECOND))


class Careless(FakeExecutor):
    """Repeats the credential wherever an executor can say something."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    async def send(self, request: AgentRequest, delivery: Delivery) -> Any:
        said = f"It was {delivery.secret}."
        if self.how == "raises":
            raise RuntimeError(said)
        payload: Any = {1: said} if self.how == "no json" else {"said": said}
        raise AgentError(AgentTroubleKind.FAILED, "careless", said, payload=payload)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("how", ["raises", "fails", "no json"])
async def test_what_an_executor_says_of_the_secret_is_nowhere(
    open_house: OpenHouse, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        log_to_stderr()
        wiring: dict[str, Any] = {"extra_executors": [("careless", Careless(how))]}
        async with open_house(**wiring) as house:
            agent = await house.agent("http://127.0.0.1:9/", executor="careless", secret=FIRST)
            job = await house.job(agent)
            result = await house.execute(job)
            log = await house.log(job)
    finally:
        for handler in root.handlers[:]:
            root.removeHandler(handler)
        for handler in before:
            root.addHandler(handler)
        root.setLevel(level)

    logged = capsys.readouterr().err
    assert FIRST not in logged + repr((result, log))
    if how == "raises":
        assert "RuntimeError: It was [redacted]" in logged
    else:
        assert "It was [redacted]." in repr(log)
