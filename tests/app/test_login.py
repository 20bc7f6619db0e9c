"""A token is exchanged for a cookie, and logging out takes it back. One click signs in where nothing is anybody's."""

import time
from collections.abc import AsyncGenerator
from http.cookies import SimpleCookie

import httpx
import pytest

from app.asgi import create_app
from app.auth import SESSION_COOKIE
from app.login import PERSON_SECONDS, Person
from app.settings import Settings
from db.records import Role
from tests.app.conftest import Api
from tests.app.test_auth import signed

WHO = {"query": "{ viewer { id } }"}


def session(answer: httpx.Response) -> dict[str, str]:
    """The session cookie that an answer sets: its value, and its attributes that say something."""
    morsel = SimpleCookie(answer.headers["set-cookie"])[SESSION_COOKIE]
    return {"value": morsel.value, **{name: str(value) for name, value in morsel.items() if value}}


async def viewer(http: httpx.AsyncClient) -> str | None:
    """Who the cookies say is asking."""
    body = (await http.post("/graphql", json=WHO)).json()
    found: str | None = body["data"]["viewer"] and body["data"]["viewer"]["id"]
    return found


async def test_a_token_is_exchanged_for_a_cookie_that_lasts_as_long(api: Api) -> None:
    token = api.tokens.issue("ines", Role.CLIENT, ttl_seconds=600)

    answer = await api.http.post("/login", json={"token": token})

    assert (answer.status_code, answer.content) == (204, b"")
    cookie = session(answer)
    seconds = int(cookie.pop("max-age"))
    assert 590 <= seconds <= 600
    assert cookie == {"value": token, "path": "/", "httponly": "True", "samesite": "strict"}
    assert await viewer(api.http) == "ines"
    assert (await api.http.get("/api/jobs/job_1")).status_code == 404


async def test_over_https_the_cookie_stays_there(api: Api) -> None:
    answer = await api.http.post("https://signoff.test/login", json={"token": api.tokens.issue("ines", Role.CLIENT)})

    assert session(answer)["secure"] == "True"


@pytest.mark.parametrize(
    ("proxy", "said", "believed"),
    [
        ("127.0.0.1", "https", True),
        ("127.0.0.1", "http", False),
        ("127.0.0.1", "gopher", False),
        ("192.0.2.7", "https", False),
    ],
)
async def test_a_proxy_on_this_machine_is_believed_what_it_was_asked_over(
    api: Api, proxy: str, said: str, believed: bool
) -> None:
    transport = httpx.ASGITransport(api.app, client=(proxy, 40_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://signoff.test") as http:
        answer = await http.post(
            "/login",
            json={"token": api.tokens.issue("ines", Role.CLIENT)},
            headers={"x-forwarded-proto": said, "x-forwarded-for": "198.51.100.1"},
        )

    assert ("secure" in session(answer)) is believed


async def test_logging_out_takes_the_cookie_back_whatever_it_was(api: Api) -> None:
    await api.http.post("/login", json={"token": api.tokens.issue("ines", Role.CLIENT)})

    answer = await api.http.post("/logout")

    assert (answer.status_code, session(answer)["value"]) == (204, "")
    assert await viewer(api.http) is None
    assert (await api.http.post("/logout", headers={"cookie": f"{SESSION_COOKIE}=broken"})).status_code == 204


@pytest.mark.parametrize("path", ["/graphql", "/api/jobs/job_1"])
async def test_a_cookie_that_cannot_be_believed_is_taken_back(api: Api, path: str) -> None:
    broken = {"cookie": f"{SESSION_COOKIE}=broken"}

    answer = await api.http.get(path, params=WHO, headers=broken)
    with_header = await api.http.get(path, params=WHO, headers={**broken, "authorization": "Bearer x"})

    assert (answer.status_code, session(answer)) == (401, {"value": "", "path": "/"} | {"max-age": "0"})
    assert (with_header.status_code, "set-cookie" in with_header.headers) == (401, False)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"token": "x"}', 401, "UNAUTHENTICATED"),
        (b'{"token": ""}', 401, "UNAUTHENTICATED"),
        (b'{"person": "ada"}', 404, "NOT_FOUND"),
        (b"", 400, "BAD_REQUEST"),
        (b"{", 400, "BAD_REQUEST"),
        (b"[]", 400, "BAD_REQUEST"),
        (b"{}", 400, "BAD_REQUEST"),
        (b'{"token": 5}', 400, "BAD_REQUEST"),
        (b'{"token": "x", "person": "ada"}', 400, "BAD_REQUEST"),
        (b'{"token": "x", "token": "y"}', 400, "BAD_REQUEST"),
    ],
)
async def test_anything_else_sets_no_cookie(api: Api, body: bytes, status: int, code: str) -> None:
    answer = await api.http.post("/login", content=body, headers={"content-type": "application/json"})

    assert (answer.status_code, answer.json()["errors"][0]["extensions"]) == (status, {"code": code})
    assert "set-cookie" not in answer.headers


async def test_a_token_that_has_expired_is_no_longer_exchanged(api: Api) -> None:
    token = signed(api.tokens.keys[api.tokens.current], exp=time.time() - 60)

    answer = await api.http.post("/login", json={"token": token})

    assert (answer.status_code, answer.json()["errors"][0]["message"]) == (401, "The token has expired.")


async def test_a_foreign_page_can_neither_sign_somebody_in_nor_out(api: Api) -> None:
    token = api.tokens.issue("mallory", Role.CLIENT)
    evil = {"origin": "https://evil.test"}

    assert (await api.http.post("/login", json={"token": token}, headers=evil)).status_code == 403
    assert (await api.http.post("/logout", headers=evil)).status_code == 403
    assert (await api.http.post("/login", data={"token": token})).status_code == 415
    assert (await api.http.post("/login", json={"token": token}, headers={"origin": "null"})).status_code == 403
    own = {"origin": "http://signoff.test"}
    assert (await api.http.post("/login", json={"token": token}, headers=own)).status_code == 204


# ------------------------------------------------------------------------------------------------- with one click


@pytest.fixture
async def demo(settings: Settings) -> AsyncGenerator[httpx.AsyncClient]:
    app = create_app(settings, people=[Person("ines", "Inês", Role.CLIENT), Person("ada", "Ada", Role.ADMIN)])
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://signoff.test") as http,
    ):
        yield http


async def test_one_click_signs_in_and_another_changes_who_it_is(demo: httpx.AsyncClient) -> None:
    people = (await demo.get("/login/people")).json()["people"]

    assert people == [
        {"id": "ines", "name": "Inês", "role": "CLIENT"},
        {"id": "ada", "name": "Ada", "role": "ADMIN"},
    ]
    for person in people:
        answer = await demo.post("/login", json={"person": person["id"]})
        assert (answer.status_code, PERSON_SECONDS - int(session(answer)["max-age"]) <= 10) == (204, True)
        assert await viewer(demo) == person["id"]
    assert (await demo.post("/login", json={"person": "mallory"})).status_code == 404


async def test_elsewhere_there_is_nobody_to_click_on(api: Api) -> None:
    assert (await api.http.get("/login/people")).json() == {"people": []}
    assert (await api.http.post("/login", json={"person": "ines"})).status_code == 404
