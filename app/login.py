"""Signing in and out: a token is exchanged for a cookie that no script of a page can read."""

from __future__ import annotations

import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.auth import SESSION_COOKIE
from app.middleware import problem, unauthenticated
from resolvers.errors import UnauthenticatedError
from services.strict_json import InvalidJsonError, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from app.auth import TokenReader, Tokens
    from db.records import Role

PERSON_SECONDS = 12 * 3600


@dataclass(frozen=True)
class Person:
    """Somebody whom one click signs in: in the demo, and nowhere else."""

    id: str
    name: str
    role: Role


@dataclass(frozen=True)
class OneClick:
    """The people of a service in which nothing is anybody's, and who signs their tokens."""

    people: Sequence[Person]
    tokens: Tokens

    def token_for(self, id_: str) -> str | None:
        """Sign a token for one of them; None where there is no such person."""
        for person in self.people:
            if person.id == id_:
                return self.tokens.issue(person.id, person.role, name=person.name, ttl_seconds=PERSON_SECONDS)
        return None


@dataclass(frozen=True)
class Login:
    """The routes around the session cookie. The page at `GET /login` is the pages' business."""

    reader: TokenReader
    one_click: OneClick | None = None

    def routes(self) -> list[Route]:
        """What it answers."""
        return [
            Route("/login", self.login, methods=["POST"]),
            Route("/login/people", self.people, methods=["GET"]),
            Route("/logout", self.logout, methods=["POST"]),
        ]

    async def people(self, request: Request) -> Response:
        """`GET /login/people`: whom one click signs in."""
        del request
        people = self.one_click.people if self.one_click else ()
        return JSONResponse({"people": [{"id": p.id, "name": p.name, "role": p.role.name} for p in people]})

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
                found = self.one_click.token_for(person) if self.one_click else None
                if found is None:
                    return problem(HTTPStatus.NOT_FOUND, "NOT_FOUND", "There is no such person to sign in as.")
                token = found
            case _:
                return _malformed('The body must be {"token": "…"}.')
        try:
            viewer = await self.reader.read(token.strip())
        except UnauthenticatedError as error:
            return unauthenticated(error.message)
        response = Response(status_code=HTTPStatus.NO_CONTENT)
        left = 1 if viewer.expires_at is None else max(1, int(viewer.expires_at - time.time()))
        _set_session(response, request, token.strip(), left)
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
