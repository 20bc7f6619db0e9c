"""Signing in and out: a token is exchanged for a cookie that no script of a page can read."""

from __future__ import annotations

import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.auth import LEEWAY_SECONDS, SESSION_COOKIE
from app.middleware import problem, unauthenticated
from resolvers.errors import UnauthenticatedError
from services.strict_json import InvalidJsonError, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from app.auth import TokenReader, Tokens
    from db.records import Role

PERSON_SECONDS = 12 * 3600
# Browsers drop a cookie of more than 4,096 with its name and attributes; a provider's token may be longer.
COOKIE_CHARACTERS = 3_800


@dataclass(frozen=True)
class Person:
    """Somebody whom one click signs in: in the demo, and nowhere else."""

    id: str
    name: str
    role: Role


@dataclass(frozen=True)
class Login:
    """The routes around the session cookie. The page at `GET /login` is the pages' business."""

    reader: TokenReader
    tokens: Tokens
    people: Sequence[Person] = ()

    def routes(self) -> list[Route]:
        """What it answers."""
        return [
            Route("/login", self.login, methods=["POST"]),
            Route("/login/people", self.list_people, methods=["GET"]),
            Route("/logout", self.logout, methods=["POST"]),
        ]

    async def list_people(self, request: Request) -> Response:
        """`GET /login/people`: whom one click signs in."""
        del request
        return JSONResponse({"people": [{"id": p.id, "name": p.name, "role": p.role.name} for p in self.people]})

    async def login(self, request: Request) -> Response:
        """`POST /login`: `{"token": …}`, or in the demo `{"person": …}`."""
        # No foreign page can send this media type without being allowed to (CORS).
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return _malformed("Send `Content-Type: application/json`.", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        try:
            body = parse(await request.body())
        except InvalidJsonError as error:
            return _malformed(f"The body: {error}")
        match body:
            case {"token": str() as token, **rest} if not rest:
                pass
            case {"person": str() as person, **rest} if not rest:
                found = next((somebody for somebody in self.people if somebody.id == person), None)
                if found is None:
                    return problem(HTTPStatus.NOT_FOUND, "NOT_FOUND", "There is no such person to sign in as.")
                token = self.tokens.issue(found.id, found.role, name=found.name, ttl_seconds=PERSON_SECONDS)
            case _:
                return _malformed('The body must be {"token": "…"}.')
        token = token.strip()
        try:
            viewer = await self.reader.read(token)
        except UnauthenticatedError as error:
            return unauthenticated(error.message)
        response = Response(status_code=HTTPStatus.NO_CONTENT)
        # The cookie is gone before the token is refused: nobody is signed out by an error.
        expires_at = (viewer.expires_at or 0) - LEEWAY_SECONDS
        left = max(1, int(expires_at - time.time()))
        if len(token) > COOKIE_CHARACTERS:
            token = self.tokens.issue(viewer.id, viewer.role, name=viewer.name, ttl_seconds=left)
        _set_session(response, request, token, left)
        return response

    async def logout(self, request: Request) -> Response:
        """`POST /logout`: whoever asks has no session any more, whatever their cookie said."""
        response = Response(status_code=HTTPStatus.NO_CONTENT)
        _set_session(response, request, "", 0)
        return response


def _malformed(message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> Response:
    return problem(status, "BAD_REQUEST", message)


def _set_session(response: Response, request: Request, token: str, seconds: int) -> None:
    response.set_cookie(
        SESSION_COOKIE,
        token,
        max_age=seconds,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
