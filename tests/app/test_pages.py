"""The pages as they are served: which file, in which encoding, for how long, under which policy."""

import gzip
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from app.asgi import create_app
from app.auth import SESSION_COOKIE
from app.middleware import PAGES
from app.pages import COMPLETE, OrGraphiQL, Pages
from app.settings import Settings
from tests.app.conftest import Api

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
SCRIPT = b"console.log('hello')"
# Else the second in which it was made is in it.
GZIPPED = gzip.compress(SCRIPT, mtime=0)


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """What a page build leaves, and a secret beside it."""
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<p>the application")
    (folder / COMPLETE).write_bytes(b"as if it were brotli")
    (folder / "graphiql.html").write_text("<p>GraphiQL")
    (folder / "assets" / "index-a1.js").write_bytes(SCRIPT)
    (folder / "assets" / "index-a1.js.gz").write_bytes(GZIPPED)
    (folder / "assets" / "index-a1.js.br").write_bytes(b"as if it were brotli")
    (folder / "assets" / "index-a1.css").write_text("p{}")
    return folder


@pytest.fixture
async def http(build: Path) -> AsyncGenerator[httpx.AsyncClient]:
    pages = Pages([build])
    graphql = OrGraphiQL(PlainTextResponse("GraphQL"), pages)
    app = Starlette(routes=[*pages.routes(), Route("/graphql", graphql)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://signoff.test") as client:
        yield client


@pytest.mark.parametrize("path", [page.replace("{id}", "job_1") for page in PAGES])
async def test_a_deep_link_is_the_application(http: httpx.AsyncClient, path: str) -> None:
    page = await http.get(path, headers={"accept-encoding": "identity"})

    assert (page.status_code, page.text) == (200, "<p>the application")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    ("accepted", "sent"),
    [
        ("gzip, deflate, br", "br"),
        ("gzip", "gzip"),
        ("br;q=0, gzip;q=0.5", "gzip"),
        ("*", "br"),
        ("identity", None),
        ("", None),
    ],
)
async def test_an_asset_comes_in_the_smallest_encoding_that_is_taken(
    http: httpx.AsyncClient, accepted: str, sent: str | None
) -> None:
    async with http.stream("GET", "/assets/index-a1.js", headers={"accept-encoding": accepted}) as asset:
        body = b"".join([chunk async for chunk in asset.aiter_raw()])

    assert asset.status_code == 200
    assert asset.headers.get("content-encoding") == sent
    assert body == {None: SCRIPT, "gzip": GZIPPED, "br": b"as if it were brotli"}[sent]
    assert asset.headers["vary"] == "Accept-Encoding"
    assert asset.headers["content-type"] == "text/javascript; charset=utf-8"
    assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize("path", ["/jobs", "/assets/index-a1.js"])
async def test_what_the_browser_has_already_is_not_sent_again(http: httpx.AsyncClient, path: str) -> None:
    tag = (await http.get(path, headers={"accept-encoding": "identity"})).headers["etag"]

    again = await http.get(path, headers={"accept-encoding": "identity", "if-none-match": f'"other", W/{tag}'})
    other = await http.get(path, headers={"accept-encoding": "identity", "if-none-match": '"other"'})

    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert other.status_code == 200


async def test_each_encoding_has_a_tag_of_its_own(http: httpx.AsyncClient) -> None:
    tags = []
    for encoding in ("identity", "gzip"):
        head = await http.head("/assets/index-a1.js", headers={"accept-encoding": encoding})
        tags.append(head.headers["etag"])

    assert len(set(tags)) == 2


@pytest.mark.parametrize(
    "path",
    [
        "/assets/missing.js",
        "/assets/../index.html",
        "/assets/..%2findex.html",
        "/assets/..%2f..%2fsecret.txt",
        "/assets/%2e%2e/%2e%2e/secret.txt",
        "/assets/..\\..\\secret.txt",
        "/assets//etc/passwd",
        "/assets/index-a1.js%00",
        "/assets/index-a1.js.gz",
        "/assets/",
        "/index.html",
    ],
)
async def test_no_path_leads_to_anything_else(http: httpx.AsyncClient, path: str) -> None:
    # As it stands: a client resolves dots itself before it asks.
    request = http.build_request("GET", "/")
    request.url = request.url.copy_with(raw_path=path.encode())

    assert (await http.send(request)).status_code == 404


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        (BROWSER, True),
        ("text/html", True),
        ("text/html;q=0.5, */*", True),
        ("*/*", False),
        ("", False),
        ("application/json", False),
        ("application/json, text/html", False),
        ("application/graphql-response+json, text/html;q=0.9", False),
        ("text/event-stream", False),
    ],
)
async def test_a_browser_that_opens_the_address_of_graphql_gets_graphiql(
    http: httpx.AsyncClient, accept: str, is_page: bool
) -> None:
    answer = await http.get("/graphql", headers={"accept": accept})
    sent = await http.request("OPTIONS", "/graphql", headers={"accept": accept})

    assert answer.text == ("<p>GraphiQL" if is_page else "GraphQL")
    assert sent.text == "GraphQL"
    if is_page:
        assert answer.headers["vary"] == "Accept, Accept-Encoding"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "script-src" not in policy  # so default-src counts: nothing inline, nothing evaluated
        assert "'unsafe-eval'" not in policy


@pytest.mark.parametrize(
    ("path", "accept", "is_page"),
    [
        ("/nope", BROWSER, True),
        ("/admin", BROWSER, True),
        ("/nope", "*/*", False),
        ("/nope", "application/json", False),
        ("/api/nope", BROWSER, False),
    ],
)
async def test_an_unknown_address_is_a_page_for_browsers_only(
    settings: Settings, build: Path, path: str, accept: str, is_page: bool
) -> None:
    transport = httpx.ASGITransport(create_app(settings, builds=[build]))
    async with httpx.AsyncClient(transport=transport, base_url="http://signoff.test") as http:
        # Nor does a session that has expired stand in the way of a page.
        cookie = {"cookie": f"{SESSION_COOKIE}=not.a.token"} if is_page else {}
        answer = await http.get(path, headers={"accept": accept, **cookie})
        posted = await http.post(path, headers={"accept": accept})

    assert (answer.status_code, posted.status_code) == (404, 404)
    assert posted.json()["errors"][0]["extensions"] == {"code": "NOT_FOUND"}
    if is_page:
        assert answer.text == "<p>the application"
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "Accept" in answer.headers["vary"]
    else:
        assert answer.json()["errors"][0]["extensions"] == {"code": "NOT_FOUND"}


@pytest.mark.parametrize("path", ["/jobs", "/login", "/admin/agents", "/graphql"])
async def test_where_the_pages_are_not_built_they_say_so(path: str, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("half of a build")
    pages = Pages([tmp_path])
    app = Starlette(routes=[*pages.routes(), Route("/graphql", OrGraphiQL(PlainTextResponse("GraphQL"), pages))])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://signoff.test") as http:
        page = await http.get(path, headers={"accept": BROWSER})
        asked = await http.get("/graphql", headers={"accept": "application/json"})

    assert (page.status_code, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert "python3 dev.py setup" in page.text
    assert asked.text == "GraphQL"


async def test_pages_that_are_built_after_the_start_are_found(http: httpx.AsyncClient, build: Path) -> None:
    (build / COMPLETE).rename(build / "later")
    before = await http.get("/jobs")
    (build / "later").rename(build / COMPLETE)

    after = await http.get("/jobs", headers={"accept-encoding": "identity"})

    assert (before.status_code, after.status_code, after.text) == (503, 200, "<p>the application")


@pytest.mark.parametrize("path", ["/jobs", "/jobs/job_1", "/login", "/admin/jobs", "/", "/assets/x.js"])
async def test_a_page_is_there_whoever_asks_and_when_their_session_has_expired(api: Api, path: str) -> None:
    expired = {"cookie": f"{SESSION_COOKIE}=not.a.token"}

    without, with_expired = await api.http.get(path), await api.http.get(path, headers=expired)

    assert without.status_code == with_expired.status_code != 401
    assert "set-cookie" not in with_expired.headers


async def test_a_broken_bearer_token_is_refused_by_pages_too(api: Api) -> None:
    refused = await api.http.get("/jobs", headers={"authorization": "Bearer not.a.token"})

    assert refused.status_code == 401
    assert refused.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_pages_run_only_what_is_their_own(api: Api) -> None:
    policy = (await api.http.get("/jobs")).headers["content-security-policy"]

    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
