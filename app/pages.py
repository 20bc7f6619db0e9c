"""The pages: files that the page build made, found once and served from then on as they are.

Every page is the same for everybody, so it is served to everybody: who is asking is found out by what it asks for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Self

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from app.middleware import API, ASSETS, PAGES, SECURITY_HEADERS
from schema.http import EVENTS, GRAPHQL_JSON, JSON, accepted

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

_HERE = Path(__file__).resolve().parent
# In a wheel beside this file, in a checkout where the page build leaves it.
BUILDS = (_HERE / "web", _HERE.parent / "web" / "dist")

INDEX, GRAPHIQL = "index.html", "graphiql.html"
# What the page build writes last: with it, everything is there.
COMPLETE = "index.html.br"
HTML = "text/html"
# Not the system's own table: browsers refuse a script whose type some distribution left out.
CONTENT_TYPES: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".txt": "text/plain; charset=utf-8",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
# Best first; the page build leaves a smaller file beside each one where that is worth it.
ENCODINGS: Mapping[str, str] = {"br": ".br", "gzip": ".gz"}

# A name with a digest in it never means anything else.
_IMMUTABLE = "public, max-age=31536000, immutable"
# A page names the assets of one build: it is asked for anew, and mostly answered with 304.
_REVALIDATED = "no-cache"
# GraphiQL's editor writes its colours into style elements, and its style sheet has fonts and pictures in it. Its
# scripts and workers are files of ours like all others, and nothing is evaluated.
_GRAPHIQL_POLICY = (
    SECURITY_HEADERS["content-security-policy"]
    + "; style-src 'self' 'unsafe-inline'; font-src 'self' data:; img-src 'self' data:"
)

_MISSING = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="3"><title>Signoff</title>
<h1>The pages are not built yet</h1>
<p>The demo builds them when it is started for the first time: wait a moment, and they show themselves.
Elsewhere, <code>python3 dev.py setup</code> builds them.
<p>Everything can also be done over GraphQL at <code>/graphql</code>.
</html>
"""


@dataclass(frozen=True)
class _Variant:
    """A file as it lies on the disk, in one content encoding."""

    path: Path
    stat: os.stat_result
    etag: str

    @classmethod
    def of(cls, path: Path) -> Self:
        # An asset's name has its digest already, and editors have megabytes of them.
        named = path.parent.name == ASSETS.strip("/")
        tag = path.name if named else hashlib.sha256(path.read_bytes()).hexdigest()[:32]
        return cls(path, path.stat(), f'"{tag}"')


@dataclass(frozen=True)
class _File:
    """A file in every content encoding that there is, "identity" among them."""

    content_type: str
    variants: Mapping[str, _Variant]

    def response(self, request: Request, headers: Mapping[str, str]) -> Response:
        """Answer in the smallest encoding that the client takes, or with 304 where it has it already."""
        encoding = _encoding_for(request, self.variants)
        variant = self.variants[encoding]
        sent = {"vary": "Accept-Encoding", "etag": variant.etag, **headers}
        if variant.etag in _etags(request):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=sent)
        if encoding != "identity":
            sent["content-encoding"] = encoding
        sent["content-type"] = self.content_type
        return FileResponse(variant.path, headers=sent, stat_result=variant.stat)


def _encoding_for(request: Request, variants: Mapping[str, _Variant]) -> str:
    welcome = dict(accepted(request.headers.getlist("accept-encoding")))
    for encoding in ENCODINGS:
        if encoding in variants and welcome.get(encoding, welcome.get("*", 0.0)) > 0:
            return encoding
    return "identity"


def _etags(request: Request) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}


@dataclass
class Pages:
    """What a page build made, by its path below `/`. Only what was found is served: no path leads anywhere else.

    The build is found in the first of `builds` that has a complete one, if need be after the start: until then, every
    page says that it is not there yet.
    """

    builds: Sequence[Path] = BUILDS
    _found: Mapping[str, _File] = field(default_factory=dict[str, _File], init=False)

    @property
    def files(self) -> Mapping[str, _File]:
        """The build's files, by their paths in it."""
        if not self._found:
            folder = next((folder for folder in self.builds if (folder / COMPLETE).is_file()), None)
            self._found = {} if folder is None else _files_in(folder)
        return self._found

    def routes(self) -> list[Route]:
        """What they answer: the application at its every address, so that a deep link survives a reload."""
        return [
            Route(f"{ASSETS}{{name}}", self.asset, methods=["GET"]),
            *(Route(path, self.page, methods=["GET"]) for path in PAGES),
        ]

    async def page(self, request: Request) -> Response:
        """Answer with the application; which page it shows is its own business."""
        return self._html(INDEX, request, {})

    async def graphiql(self, request: Request) -> Response:
        """Answer with GraphiQL, for people who try out queries."""
        # What is answered at this path differs by Accept, too.
        headers = {"content-security-policy": _GRAPHIQL_POLICY, "vary": "Accept, Accept-Encoding"}
        return self._html(GRAPHIQL, request, headers)

    def missing(self, request: Request) -> Response | None:
        """The application, which says that there is nothing here; for a browser that opens an unknown address."""
        found = self.files.get(INDEX)
        is_opened = request.method in {"GET", "HEAD"} and not request.scope["path"].startswith(API)
        if found is None or not is_opened or not prefers_page(request):
            return None
        page = found.variants["identity"].path.read_bytes()
        return HTMLResponse(page, HTTPStatus.NOT_FOUND, {"vary": "Accept"})

    async def asset(self, request: Request) -> Response:
        """Answer with a part of a page."""
        found = self.files.get(f"{ASSETS}{request.path_params['name']}".removeprefix("/"))
        if found is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return found.response(request, {"cache-control": _IMMUTABLE})

    def _html(self, name: str, request: Request, headers: Mapping[str, str]) -> Response:
        found = self.files.get(name)
        if found is None:
            return HTMLResponse(_MISSING, HTTPStatus.SERVICE_UNAVAILABLE)
        return found.response(request, {"cache-control": _REVALIDATED, **headers})


def _files_in(folder: Path) -> Mapping[str, _File]:
    files: dict[str, _File] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in CONTENT_TYPES:
            variants = {"identity": _Variant.of(path)}
            for encoding, suffix in ENCODINGS.items():
                smaller = path.with_name(path.name + suffix)
                if smaller.is_file():
                    variants[encoding] = _Variant.of(smaller)
            files[path.relative_to(folder).as_posix()] = _File(CONTENT_TYPES[path.suffix], variants)
    return files


@dataclass(frozen=True)
class OrGraphiQL:
    """GraphiQL for a browser that opens GraphQL's address, GraphQL for everybody else."""

    endpoint: ASGIApp
    pages: Pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        app = self.endpoint
        if scope["type"] == "http" and scope["method"] in {"GET", "HEAD"}:
            request = Request(scope, receive)
            if prefers_page(request):
                app = await self.pages.graphiql(request)
        await app(scope, receive, send)


def prefers_page(request: Request) -> bool:
    """Whether the client names HTML, and nothing that GraphQL is answered in as welcome as that."""
    welcome = dict(accepted(request.headers.getlist("accept")))
    return welcome.get(HTML, 0.0) > max(welcome.get(answer, 0.0) for answer in (GRAPHQL_JSON, JSON, EVENTS))
