"""What strangers send, and the exact answer that each gets: to be read as a table.

Where a column says `says`, the message holds that text.
"""
# ruff: noqa: E501  (it is a table)

from __future__ import annotations

import base64
import gzip
import json
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jwt

from tests.agents import Response
from tests.hostile.process import KEY, TOKENS

MIB = 1024 * 1024
SESSION = "signoff_session"


# ------------------------------------------------------------------------------------------------- kinds of rows


@dataclass(frozen=True)
class Http:
    """A request of a client who is signed in, unless its headers say otherwise."""

    what: str
    method: str
    path: str
    body: bytes
    status: int
    code: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """On top of a client's token and JSON's media type; "" leaves one out."""


@dataclass(frozen=True)
class Raw:
    """Bytes on a connection, and how the answer to them begins."""

    what: str
    sent: bytes
    answer: bytes


@dataclass(frozen=True)
class Document:
    """A GraphQL document of a client who is signed in: refused with 400, or answered with an error in its place."""

    what: str
    text: str
    status: int
    code: str
    says: str = ""
    variables: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Frames:
    """What is sent over a WebSocket, after a good connection_init where `init`; the code that closes it, or an error's."""

    what: str
    sent: Sequence[object]
    answer: int | str
    init: bool = True


@dataclass(frozen=True)
class NoUtf8:
    """Bytes that are sent as if they were text."""

    sent: bytes


@dataclass(frozen=True)
class Handshake:
    """How a WebSocket is asked for: the HTTP status that refuses it, or the code that closes it."""

    what: str
    answer: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    subprotocols: Sequence[str] = ("graphql-transport-ws",)


@dataclass(frozen=True)
class Token:
    """A token that nobody should believe: 401 UNAUTHENTICATED on every route, 4403 over WebSocket."""

    what: str
    token: str


@dataclass(frozen=True)
class Answer:
    """An agent's answer: the outcome, the job's status after it, and the response entry that tells of it in the log."""

    what: str
    response: Response
    outcome: str
    status: str
    entry: str
    error: str | None
    agent: Mapping[str, Any] = field(default_factory=dict[str, Any])
    expression: str = "answer.ok"


@dataclass(frozen=True)
class Refused:
    """A schema, an expression or an address at registration: INVALID_INPUT, and the message says why."""

    what: str
    given: Any
    says: str


# ---------------------------------------------------------------------------------------------------- shorthands


def post(what: str, body: bytes, status: int, code: str, **headers: str) -> Http:
    return Http(
        what, "POST", "/graphql", body, status, code, {name.replace("_", "-"): text for name, text in headers.items()}
    )


def execute(what: str, body: bytes, status: int, code: str, *, job: str = "{job}", **headers: str) -> Http:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Http(what, "POST", f"/api/jobs/{job}/execute", body, status, code, named)


def asking(variables: str) -> bytes:
    return (
        b'{"query": "query Q($f: JobFilter) { jobs(filter: $f) { totalCount } }", "variables": '
        + variables.encode()
        + b"}"
    )


def levels(count: int) -> str:
    return "{ jobs { nodes " + "{ latestExecution { job " * count + "{ id }" + " } }" * count + " } }"


def doubling(inner: str, count: int = 30) -> str:
    chain = " ".join(f"fragment A{n} on Query {{ ...A{n + 1} ...A{n + 1} }}" for n in range(count))
    return f"{{ ...A0 }} {chain} fragment A{count} on Query {{ {inner} }}"


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def signed(key: bytes, algorithm: str = "HS256", headers: Mapping[str, Any] | None = None, **changes: Any) -> str:
    claims = {"sub": "ines", "role": "client", "exp": time.time() + 3600, **changes}
    kept = {name: value for name, value in claims.items() if value is not None}
    with warnings.catch_warnings(action="ignore"):  # the key is shorter than other algorithms want
        return jwt.encode(kept, key, algorithm=algorithm, headers=dict(headers or {}))


def ours(algorithm: str = "HS256", headers: Mapping[str, Any] | None = None, **changes: Any) -> str:
    """A token under the server's own key."""
    return signed(TOKENS.keys[TOKENS.current], algorithm, {"kid": TOKENS.current, **(headers or {})}, **changes)


GOOD = b'{"query": "{ viewer { id } }"}'
VIEWER = "{ viewer { id } }"
EVENTS = "subscription { jobStatusChanged { cursor } }"
ANONYMOUS = {"authorization": ""}
UNKNOWN_JOB = "job_01h45ytscbebyvny4gc8cr8ma2"


def subscribe(id_: object = "1", **payload: Any) -> dict[str, Any]:
    return {"type": "subscribe", "id": id_, "payload": payload}


# ================================================================================================ the table itself
# fmt: off

HTTP: Sequence[Http] = (
    #    what is sent                             the body                                               status  code
    post("nothing",                               b"",                                                      400, "BAD_REQUEST"),
    post("half an object",                        b'{"query": ',                                            400, "BAD_REQUEST"),
    post("a number",                              b"5",                                                     400, "BAD_REQUEST"),
    post("a string",                              b'"{ viewer { id } }"',                                   400, "BAD_REQUEST"),
    post("null",                                  b"null",                                                  400, "BAD_REQUEST"),
    post("a batch",                               b"[" + GOOD + b"]",                                       400, "BAD_REQUEST"),
    post("an empty batch",                        b"[]",                                                    400, "BAD_REQUEST"),
    post("no query",                              b"{}",                                                    400, "BAD_REQUEST"),
    post("a query that is null",                  b'{"query": null}',                                       400, "BAD_REQUEST"),
    post("a query that is a list",                b'{"query": ["{ viewer { id } }"]}',                      400, "BAD_REQUEST"),
    post("variables that are a list",             asking("[]"),                                             400, "BAD_REQUEST"),
    post("variables that are a text",             asking('"{}"'),                                           400, "BAD_REQUEST"),
    post("an operation's name that is a number",  b'{"query": "{ viewer { id } }", "operationName": 5}',    400, "BAD_REQUEST"),
    post("extensions that are a list",            b'{"query": "{ viewer { id } }", "extensions": []}',      400, "BAD_REQUEST"),
    post("a key twice",                           b'{"query": "{ viewer { id } }", "query": "{ x }"}',      400, "BAD_REQUEST"),
    post("NaN",                                   asking('{"f": NaN}'),                                     400, "BAD_REQUEST"),
    post("a number beyond every float",           asking('{"f": 1e400}'),                                   400, "BAD_REQUEST"),
    post("an integer of 5,000 digits",            asking('{"f": ' + "9" * 5_000 + "}"),                     400, "BAD_REQUEST"),
    post("half a surrogate pair",                 asking('{"f": "\\ud800"}'),                               400, "BAD_REQUEST"),
    post("U+0000",                                asking('{"f": "\\u0000"}'),                               400, "BAD_REQUEST"),
    post("bytes that are no UTF-8",               b'{"query": "\xff\xfe"}',                                 400, "BAD_REQUEST"),
    post("UTF-16",                                GOOD.decode().encode("utf-16"),                           400, "BAD_REQUEST"),
    post("a byte order mark",                     b"\xef\xbb\xbf" + GOOD,                                   400, "BAD_REQUEST"),
    post("200,000 brackets",                      b"[" * 200_000 + b"]" * 200_000,                          400, "BAD_REQUEST"),
    post("200,000 objects in each other",         b'{"a":' * 150_000,                                       400, "BAD_REQUEST"),
    post("65 levels of variables",                asking('{"f": ' + "[" * 65 + "]" * 65 + "}"),             400, "BAD_REQUEST"),
    post("a byte more than a mebibyte",           b" " * (MIB + 1),                                         413, "REQUEST_TOO_LARGE"),
    post("a form",                                b"query=%7B+viewer+%7B+id+%7D+%7D",                       415, "BAD_REQUEST", content_type="application/x-www-form-urlencoded"),
    post("a multipart form",                      b"--x--",                                                 415, "BAD_REQUEST", content_type="multipart/form-data; boundary=x"),
    post("plain text, as any page may send it",   GOOD,                                                     415, "BAD_REQUEST", content_type="text/plain"),
    post("no media type",                         GOOD,                                                     415, "BAD_REQUEST", content_type=""),
    post("another character set",                 GOOD,                                                     415, "BAD_REQUEST", content_type="application/json; charset=latin-1"),
    post("a compressed body",                     gzip.compress(GOOD),                                      415, "BAD_REQUEST", content_encoding="gzip"),
    post("an answer in a media type of images",   GOOD,                                                     406, "BAD_REQUEST", accept="image/png"),
    post("a subscription without a stream",       json.dumps({"query": EVENTS}).encode(),                   406, "BAD_REQUEST"),
    Http("a mutation by GET", "GET", "/graphql?query=mutation+%7B+__typename+%7D",                 b"",     405, "BAD_REQUEST"),
    Http("a GET without a query", "GET", "/graphql",                                               b"",     400, "BAD_REQUEST"),
    Http("a GET with variables that are no JSON", "GET", "/graphql?query=%7B__typename%7D&variables=%7B", b"", 400, "BAD_REQUEST"),
    Http("PUT", "PUT", "/graphql",                                                                 GOOD,    405, "BAD_REQUEST"),
    Http("DELETE", "DELETE", "/graphql",                                                           b"",     405, "BAD_REQUEST"),
    Http("a path that is not there", "GET", "/../../etc/passwd",                                   b"",     404, "NOT_FOUND"),
    Http("a path with U+0000", "GET", "/%00",                                                      b"",     404, "NOT_FOUND"),
    Http("a path of bytes that are no UTF-8", "GET", "/%ff%fe",                                    b"",     404, "NOT_FOUND"),
    Http("signing in with a number", "POST", "/login", b'{"token": 5}',                                     400, "BAD_REQUEST"),
    Http("signing in as the demo's people", "POST", "/login", b'{"person": "ada"}',                         404, "NOT_FOUND"),
    Http("signing in by a form", "POST", "/login", b"token=x",                                              415, "BAD_REQUEST", {"content-type": "application/x-www-form-urlencoded"}),
)

REST: Sequence[Http] = (
    #       what is sent                          the body                                               status  code
    execute("half an object",                     b"{",                                                     400, "INVALID_INPUT"),
    execute("a list",                             b"[]",                                                    400, "INVALID_INPUT"),
    execute("a member that is not known",         b'{"sudo": true}',                                        400, "INVALID_INPUT"),
    execute("another job in the body",            b'{"jobId": "' + UNKNOWN_JOB.encode() + b'"}',            400, "INVALID_INPUT"),
    execute("a wait of no time at all",           b'{"waitSeconds": -1}',                                   400, "INVALID_INPUT"),
    execute("a wait of a year",                   b'{"waitSeconds": 31536000}',                             400, "INVALID_INPUT"),
    execute("a wait that is a text",              b'{"waitSeconds": "1"}',                                  400, "INVALID_INPUT"),
    execute("a revision beyond 32 bits",          b'{"expectedRevision": 4294967296}',                      400, "INVALID_INPUT"),
    execute("a key in the body, another beside",  b'{"idempotencyKey": "a"}',                               400, "INVALID_INPUT", idempotency_key="b"),
    execute("a key of 10,000 characters",         b"",                                                      400, "INVALID_INPUT", idempotency_key="k" * 10_000),
    execute("a client's force",                   b'{"force": true, "reason": "mine"}',                     403, "FORBIDDEN"),
    execute("a job that nobody has",              b"",                                                      404, "NOT_FOUND", job=UNKNOWN_JOB),
    execute("an id of SQL",                       b"",                                                      404, "NOT_FOUND", job="'%20OR%201=1;--"),
    execute("an id with U+0000",                  b"",                                                      404, "NOT_FOUND", job="job_%00"),
    execute("an id of 4,000 characters",          b"",                                                      404, "NOT_FOUND", job="j" * 4_000),
    execute("a path out of it",                   b"",                                                      404, "NOT_FOUND", job="..%2f..%2fetc"),
    execute("nobody",                             b"",                                                      401, "UNAUTHENTICATED", authorization=""),
    execute("a byte more than a mebibyte",        b" " * (MIB + 1),                                         413, "REQUEST_TOO_LARGE"),
    Http("execute by GET", "GET", "/api/jobs/{job}/execute",                                       b"",     405, "METHOD_NOT_ALLOWED"),
    Http("a job's log, of nobody's job", "GET", f"/api/jobs/{UNKNOWN_JOB}/logs",                   b"",     404, "NOT_FOUND"),
)

ORIGINS: Sequence[Http] = (
    #    what is sent, with a good session cookie                                                        status  code
    *(Http(what, "POST", path, GOOD, 403, "FOREIGN_ORIGIN", {"cookie": SESSION + "={token}", "authorization": "", "origin": origin})
      for what, path, origin in (
        ("by a foreign page",                     "/graphql",                "https://evil.example"),
        ("by a page without an origin",           "/graphql",                "null"),
        ("by a page of another port",             "/graphql",                "http://127.0.0.1:1"),
        ("by a page whose name begins like ours", "/graphql",                "http://{host}.evil.example"),
        ("by a page with a user in its name",     "/graphql",                "http://{host}@evil.example"),
        ("an execution by a foreign page",        "/api/jobs/{job}/execute", "https://evil.example"),
        ("signing in by a foreign page",          "/login",                  "https://evil.example"),
        ("signing out by a foreign page",         "/logout",                 "https://evil.example"),
      )),
    Http("to a name that is not ours", "POST", "/graphql", GOOD,                                            400, "", {"host": "evil.example"}),
    Http("a foreign page asks what it may", "OPTIONS", "/graphql", b"",                                     400, "", {"origin": "https://evil.example", "access-control-request-method": "POST"}),
)

COOKIES: Sequence[Http] = tuple(
    #    a cookie that is no session                                                                     status  code
    Http(what, "POST", "/graphql", GOOD, 401, "UNAUTHENTICATED", {"authorization": "", "cookie": f"{SESSION}={value}"})
    for what, value in (
        ("nonsense in the cookie",                "nonsense"),
        ("a cookie of percent signs",             "%%%00%ff"),
        ("a cookie of 8,000 characters",          "c" * 8_000),
        ("a cookie with a token of nobody",       "a.b.c"),
        ("a cookie twice",                        f"x; {SESSION}=y"),
    )
)

RAW: Sequence[Raw] = (
    #   what is sent                              the bytes                                                            how the answer begins
    Raw("no HTTP at all",                         b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",             b"HTTP/1.1 400 "),
    Raw("HTTP of a version that is none",         b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",                        b"HTTP/1.1 400 "),
    Raw("a header without a name",                b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n: x\r\n\r\n",          b"HTTP/1.1 400 "),
    Raw("two lengths",                            b"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", b"HTTP/1.1 400 "),
    Raw("a length that is negative",              b"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n", b"HTTP/1.1 400 "),
    Raw("a length and chunks",                    b"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"HTTP/1.1 400 "),
    Raw("a chunk of a size that is none",         b"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", b"HTTP/1.1 400 "),
    Raw("the announcement of a terabyte",         b"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1099511627776\r\n\r\n", b"HTTP/1.1 413 "),
    Raw("two mebibytes in chunks",                b"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b" " * 65_536 + b"\r\n") * 32 + b"0\r\n\r\n", b"HTTP/1.1 413 "),
    Raw("a WebSocket without a key",              b"GET /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n", b"HTTP/1.1 400 "),
)

DOCUMENTS: Sequence[Document] = (
    #        what is asked                        the document                                                       status code                     says
    Document("nothing that is GraphQL",           "}{",                                                                 400, "GRAPHQL_PARSE_FAILED",      "Unexpected"),
    Document("a string without an end",           '{ node(id: "x) { id } }',                                            400, "GRAPHQL_PARSE_FAILED",      "Unterminated"),
    Document("900 levels",                        "{a" * 900,                                                           400, "TOO_COMPLEX",               "nested too deeply"),
    Document("900 lists in each other",           "{ node(id: " + "[" * 900,                                            400, "TOO_COMPLEX",               "nested too deeply"),
    Document("10,000 tokens",                     "{" + " id" * 10_000 + " }",                                          400, "TOO_COMPLEX",               "more than 2000 tokens"),
    Document("2,500 directives",                  "{ viewer { id " + "@skip(if: false) " * 2_500 + "} }",               400, "TOO_COMPLEX",               "more than 2000 tokens"),
    Document("13 levels",                         levels(5),                                                            400, "TOO_COMPLEX",               "13 levels deep; at most 12"),
    Document("13 levels through a fragment",      "{ jobs { nodes { ...A } } } fragment A on Job { latestExecution { job { ...B } } } fragment B on Job { latestExecution { job { ...C } } } fragment C on Job { latestExecution { job { ... { latestExecution { job { latestExecution { job { id } } } } } } } }", 400, "TOO_COMPLEX", "13 levels deep"),
    Document("16 aliases",                        "{ " + " ".join(f"a{n}: viewer {{ id }}" for n in range(16)) + " }",  400, "TOO_COMPLEX",               "16 aliases; at most 15"),
    Document("2³⁰ aliases through fragments",     doubling("a: viewer { id }"),                                         400, "TOO_COMPLEX",               "10⁹ aliases"),
    Document("2³⁰ fields through fragments",      doubling("viewer { id }"),                                            400, "TOO_COMPLEX",               "10⁹ times side by side"),
    Document("480 fields that must be merged",    "{ " + "viewer { id } " * 480 + "}",                                  400, "TOO_COMPLEX",               "480 times"),
    Document("10,100 rows",                       "{ jobs(first: 100) { nodes { logs(first: 100) { nodes { id } } } } }", 400, "TOO_COMPLEX",             "10100 rows"),
    Document("10,100 rows by a variable",         "query Q($n: Int) { jobs(first: $n) { nodes { logs(first: $n) { totalCount } } } }", 400, "TOO_COMPLEX", "10100 rows", {"n": 100}),
    Document("20 levels of introspection",        "{ __schema { types " + "{ fields { type " * 9 + "{ name }" + "}}" * 9 + "} }", 400, "TOO_COMPLEX",     "levels of introspection"),
    Document("fragments in a circle",             "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }", 400, "GRAPHQL_VALIDATION_FAILED", "Cannot spread fragment"),
    Document("a field that is not there",         "{ passwords }",                                                      400, "GRAPHQL_VALIDATION_FAILED", "Cannot query field 'passwords'"),
    Document("a secret of an agent",              "{ agents { nodes { secret } } }",                                    400, "GRAPHQL_VALIDATION_FAILED", "Cannot query field 'secret'"),
    Document("a directive that is not there",     '{ viewer @export(as: "x") { id } }',                                 400, "GRAPHQL_VALIDATION_FAILED", "Unknown directive"),
    Document("a variable that is not declared",   "{ node(id: $id) { id } }",                                           400, "GRAPHQL_VALIDATION_FAILED", "not defined"),
    Document("a variable that is not given",      "query Q($id: ID!) { node(id: $id) { id } }",                         400, "GRAPHQL_VALIDATION_FAILED", "to be provided"),
    Document("a variable of another kind",        "query Q($n: Int) { jobs(first: $n) { totalCount } }",                400, "GRAPHQL_VALIDATION_FAILED", "Int cannot represent", {"n": {"$gt": 0}}),
    Document("an integer beyond 32 bits",         "{ jobs(first: 99999999999) { totalCount } }",                        400, "GRAPHQL_VALIDATION_FAILED", "32-bit"),
    Document("an enum's value that is none",      "{ jobs(filter: {statuses: [DELETED]}) { totalCount } }",             400, "GRAPHQL_VALIDATION_FAILED", "does not exist in 'JobStatus'"),
    Document("a date that is none",               '{ jobs(filter: {createdAfter: "0000-00-00"}) { totalCount } }',      400, "GRAPHQL_VALIDATION_FAILED", ""),
    Document("two subscriptions in one",          "subscription { a: jobStatusChanged { cursor } b: jobStatusChanged { cursor } }", 406, "BAD_REQUEST",   ""),
    Document("two operations, none named",        "query A { __typename } query B { __typename }",                      400, "BAD_REQUEST",               "operationName"),
    Document("a page of 101",                     "{ jobs(first: 101) { totalCount } }",                                200, "INVALID_INPUT",             "between 1 and 100"),
    Document("a page of less than none",          "{ jobs(first: -1) { totalCount } }",                                 200, "INVALID_INPUT",             "between 1 and 100"),
    Document("a page from both ends",             "{ jobs(first: 1, last: 1) { totalCount } }",                         200, "INVALID_INPUT",             ""),
    Document("a cursor that is none",             '{ jobs(after: "eyJub3QiOiJvdXJzIn0") { totalCount } }',              200, "INVALID_INPUT",             ""),
    Document("every log, as a client",            "{ jobLogs { totalCount } }",                                         200, "FORBIDDEN",                 ""),
    Document("who changed agents, as a client",   "{ agents { nodes { changes { totalCount } } } }",                    200, "FORBIDDEN",                 ""),
)

FRAMES: Sequence[Frames] = (
    #      what is sent                           the messages                                                        closes with, or error
    Frames("no JSON",                             ["{"],                                                               4400),
    Frames("a list",                              ["[1,2]"],                                                           4400),
    Frames("a number",                            ["5"],                                                               4400),
    Frames("null",                                ["null"],                                                            4400),
    Frames("an empty text",                       [""],                                                                4400),
    Frames("60,000 brackets",                     ["[" * 60_000],                                                      4400),
    Frames("65 levels",                           ['{"type": "ping", "payload": {"a": ' + "[" * 65 + "]" * 65 + "}}"], 4400),
    Frames("NaN",                                 ['{"type": "ping", "payload": {"a": NaN}}'],                         4400),
    Frames("half a surrogate pair",               ['{"type": "ping", "payload": {"a": "\\ud800"}}'],                   4400),
    Frames("a key twice",                         ['{"type": "ping", "type": "pong"}'],                                4400),
    Frames("bytes",                               [b'{"type": "ping"}'],                                               4400),
    Frames("a text that is no UTF-8",             [NoUtf8(b'{"type": "\xff"}')],                                        1007),
    Frames("no type",                             [{"id": "1"}],                                                       4400),
    Frames("a type that is not known",            [{"type": "start", "id": "1"}],                                      4400),
    Frames("a type that is a list",               [{"type": ["ping"]}],                                                4400),
    Frames("a subscribe without an id",           [{"type": "subscribe", "payload": {"query": VIEWER}}],               4400),
    Frames("an id that is a number",              [subscribe(1, query=VIEWER)],                                        4400),
    Frames("a query that is a number",            [subscribe(query=5)],                                                4400),
    Frames("variables that are a list",           [subscribe(query=VIEWER, variables=[])],                             4400),
    Frames("a complete without an id",            [{"type": "complete"}],                                              4400),
    Frames("a message larger than a mebibyte",    [" " * (MIB + 1)],                                                   1009),
    Frames("an init that is a text",              [{"type": "connection_init", "payload": "x"}],                       4400, init=False),
    Frames("a second init",                       [{"type": "connection_init"}],                                       4429),
    Frames("a subscribe before init",             [subscribe(query=VIEWER)],                                           4401, init=False),
    Frames("no init",                             [],                                                                  4408, init=False),
    Frames("a token that is a number",            [{"type": "connection_init", "payload": {"authorization": 5}}],      4403, init=False),
    Frames("a token without Bearer",              [{"type": "connection_init", "payload": {"authorization": "x"}}],    4403, init=False),
    Frames("the same id twice",                   [subscribe("s", query=EVENTS), subscribe("s", query=EVENTS)],        4409),
    Frames("eleven at once",                      [subscribe(f"{n}", query=EVENTS) for n in range(11)],                "TOO_MANY_OPERATIONS"),
    Frames("no GraphQL",                          [subscribe(query="}{")],                                             "GRAPHQL_PARSE_FAILED"),
    Frames("too many aliases",                    [subscribe(query=doubling("a: viewer { id }"))],                     "TOO_COMPLEX"),
    Frames("somebody else's job",                 [subscribe(query=f'subscription {{ jobLogAppended(jobId: "{UNKNOWN_JOB}") {{ cursor }} }}')], "NOT_FOUND"),
    Frames("a cursor that is none",               [subscribe(query='subscription { jobStatusChanged(after: "x") { cursor } }')], "INVALID_INPUT"),
)

HANDSHAKES: Sequence[Handshake] = (
    #         what is asked                       answer
    Handshake("by a foreign page",                403, {"origin": "https://evil.example"}),
    Handshake("by a page without an origin",      403, {"origin": "null"}),
    Handshake("to a name that is not ours",       400, {"host": "evil.example"}),
    Handshake("the protocol of before",           4406, subprotocols=("graphql-ws",)),
    Handshake("no protocol",                      4406, subprotocols=()),
)

TOKENS_OF_NOBODY: Sequence[Token] = (
    #     what it is                              the token
    Token("a word",                               "x"),
    Token("three parts of nothing",               "a.b.c"),
    Token("5,000 dots",                           "." * 5_000),
    Token("9,000 characters",                     "x" * 9_000),
    Token("not signed",                           f"{part({'alg': 'none'})}.{part({'sub': 'ada', 'role': 'admin', 'exp': 9e9})}."),
    Token("a header that is a list",              f"{part([])}.{part({})}.x"),
    Token("signed with another key",              signed(b"f" * 32)),
    Token("signed with the secret key itself",    signed(KEY.encode())),
    Token("signed with another algorithm",        ours(algorithm="HS384")),
    Token("naming a key that is a path",          ours(headers={"kid": "../../dev/null"})),
    Token("naming a key elsewhere",               signed(b"f" * 32, headers={"jku": "https://evil.example/keys", "kid": "e"})),
    Token("expired",                              ours(exp=time.time() - 60)),
    Token("not valid yet",                        ours(nbf=time.time() + 600)),
    Token("without an end",                       ours(exp=None)),
    Token("ending at a time that is a text",      ours(exp="tomorrow")),
    Token("of nobody",                            ours(sub=None)),
    Token("of a name with a line break",          ours(sub="ines\nadmin")),
    Token("of a name with U+0000",                ours(sub="ines\0")),
    Token("with a role that is none",             ours(role="root")),
    Token("with two roles",                       ours(role=["client", "admin"])),
)

_BACK, _AGAIN, _DONE = "ASSIGNED", "RESUBMISSION_REQUIRED", "COMPLETED"
_SHORT = {"timeoutSeconds": 1}

ANSWERS: Sequence[Answer] = (
    #      what the agent answers                 with                                                   the outcome              the job   the entry         its error code
    Answer("no JSON",                             Response(b"<html>"),                                   "OUTPUT_INVALID",        _AGAIN, "ERROR",          "answer_not_json"),
    Answer("nothing",                             Response(b""),                                         "OUTPUT_INVALID",        _AGAIN, "ERROR",          "answer_not_json"),
    Answer("204",                                 Response(b"", 204, {"content-length": None}),          "OUTPUT_INVALID",        _AGAIN, "ERROR",          "answer_not_json"),
    Answer("null",                                Response(None),                                        "OUTPUT_INVALID",        _AGAIN, "ERROR",          "answer_null"),
    Answer("NaN",                                 Response(b'{"ok": NaN}'),                              "OUTPUT_INVALID",        _AGAIN, "ERROR",          "answer_not_json"),
    Answer("a number beyond every float",         Response(b'{"ok": 1e999}'),                            "OUTPUT_INVALID",        _AGAIN, "ERROR",          "answer_not_json"),
    Answer("an integer of 5,000 digits",          Response(b"9" * 5_000),                                "OUTPUT_INVALID",        _AGAIN, "ERROR",          "answer_not_json"),
    Answer("half a surrogate pair",               Response(b'"\\udc00"'),                                "OUTPUT_INVALID",        _AGAIN, "ERROR",          "answer_not_json"),
    Answer("U+0000",                              Response(b'"\\u0000"'),                                "OUTPUT_INVALID",        _AGAIN, "ERROR",          "answer_not_json"),
    Answer("a key twice",                         Response(b'{"ok": true, "ok": false}'),                "OUTPUT_INVALID",        _AGAIN, "ERROR",          "answer_not_json"),
    Answer("bytes that are no UTF-8",             Response(b'{"ok": "\xff"}'),                           "OUTPUT_INVALID",        _AGAIN, "ERROR",          "answer_not_json"),
    Answer("a million brackets",                  Response(b"[" * 1_000_000),                            "OUTPUT_INVALID",        _AGAIN, "ERROR",          "answer_not_json"),
    Answer("what its own schema forbids",         Response({"ok": "yes"}),                               "OUTPUT_INVALID",        _AGAIN, "ERROR",          "output_invalid", {"outputSchema": {"properties": {"ok": {"type": "boolean"}}}}),
    Answer("that it is not done",                 Response({"ok": False}),                               "REJECTED",              _AGAIN, "OK",             None),
    Answer("not what the criterion looks at",     Response({"fine": True}),                              "REJECTED",              _AGAIN, "OK",             None),
    Answer("a number where a truth is asked for", Response({"ok": 1}),                                   "REJECTED",              _AGAIN, "OK",             None),
    Answer("a list that takes for ever to check", Response([*range(20_000)]),                            "UNDECIDED",             _AGAIN, "OK",             None, expression="answer.all(a, answer.all(b, a + b >= 0))"),
    Answer("more than two mebibytes",             Response(b'"' + b"x" * (2 * MIB) + b'"'),              "AGENT_FAILED",          _BACK,  "ERROR",          "answer_too_large"),
    Answer("a bomb of gzip",                      Response(gzip.compress(b" " * (64 * MIB), 9), headers={"content-encoding": "gzip"}), "AGENT_FAILED", _BACK, "ERROR", "answer_compressed"),
    Answer("a header of 100,000 characters",      Response(headers={"x-long": "h" * 100_000}),           "AGENT_FAILED",          _BACK,  "ERROR",          "headers_too_large"),
    Answer("a way to the metadata of a cloud",    Response(b"", 302, {"location": "http://169.254.169.254/latest/"}), "AGENT_FAILED", _BACK, "ERROR",       "http_302"),
    Answer("404",                                 Response(b"no", 404),                                  "AGENT_FAILED",          _BACK,  "ERROR",          "http_404"),
    Answer("500",                                 Response(b"oh", 500),                                  "AGENT_FAILED",          _BACK,  "ERROR",          "http_500"),
    Answer("503, three times",                    Response(b"", 503, {"retry-after": "0"}),              "AGENT_FAILED",          _BACK,  "ERROR",          "http_503"),
    Answer("half an answer",                      Response({"ok": True}, cut_after=80),                  "AGENT_OUTCOME_UNKNOWN", _BACK,  "UNKNOWN",        "connection_broken"),
    Answer("with a reset",                        Response(resets=True),                                 "AGENT_OUTCOME_UNKNOWN", _BACK,  "UNKNOWN",        "connection_broken"),
    Answer("no HTTP",                             Response(raw=b"SSH-2.0-OpenSSH_9.9\r\n\r\n"),          "AGENT_OUTCOME_UNKNOWN", _BACK,  "UNKNOWN",        "connection_broken"),
    Answer("never",                               Response(hangs=True),                                  "AGENT_OUTCOME_UNKNOWN", _BACK,  "TIMEOUT",        "timeout",   _SHORT),
    Answer("a byte every 0.2 s",                  Response(b'"' + b"x" * 100 + b'"', drip_seconds=0.2),  "AGENT_OUTCOME_UNKNOWN", _BACK,  "TIMEOUT",        "timeout",   _SHORT),
)

SCHEMAS: Sequence[Refused] = (
    #       what it is                            the schema                                                               says
    Refused("a number",                           5,                                                                       "object or a boolean"),
    Refused("a type that is none",                {"type": "nonsense"},                                                    "/type"),
    Refused("a reference to elsewhere",           {"$ref": "http://169.254.169.254/latest/meta-data"},                     "only references within the schema"),
    Refused("a reference to a file",              {"$ref": "file:///etc/passwd"},                                          "only references within the schema"),
    Refused("a reference to nothing",             {"$ref": "#/$defs/nothing"},                                             "$ref"),
    Refused("another draft",                      {"$schema": "http://json-schema.org/draft-04/schema#"},                  "2020-12"),
    Refused("a pattern that looks around",        {"pattern": "^(?=(a+))\\1$"},                                            "linear time"),
    Refused("a bomb of references",               {"$defs": {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(30)} | {"d30": {"type": "null"}}, "$ref": "#/$defs/d0"}, "too long to check"),
    Refused("more than 64 KiB",                   {"description": "x" * 65_536},                                           "65536 is the limit"),
)

EXPRESSIONS: Sequence[Refused] = (
    #       what it is                            the expression                                                           says
    Refused("half of one",                        "answer.ok ==",                                                          "Not a CEL expression"),
    Refused("blank",                              " ",                                                                     "must not be blank"),
    Refused("over what is not there",             "secrets.key == 'x'",                                                    "There is no variable `secrets`"),
    Refused("a function that is not CEL's",       "answer.exec('id')",                                                     "There is no function `exec`"),
    Refused("Python",                             "__import__('os').system('id') == 0",                                    ""),
    Refused("1,001 characters",                   "true" + " || true" * 125,                                               "1000"),
    Refused("five macros in each other",          "answer.all(a, a.all(b, b.all(c, c.all(d, d.all(e, e > 0)))))",          "nested 5 deep; 2 is the limit"),
    Refused("500 brackets",                       "(" * 400 + "1" + ")" * 400,                                             ""),
)

ADDRESSES: Sequence[Refused] = (
    #       what it is                            the agent's URL                                                          says
    Refused("the metadata of a cloud",            "http://169.254.169.254/latest/meta-data/",                              ""),
    Refused("a private network",                  "http://10.0.0.1/",                                                      ""),
    Refused("loopback of the other kind",         "http://[::1]:8000/",                                                    ""),
    Refused("a private address, mapped",          "http://[::ffff:10.0.0.1]/",                                             ""),
    Refused("a private address behind NAT64",     "http://[64:ff9b::a00:1]/",                                              ""),
    Refused("a private address in hexadecimal",   "http://0x0a000001/",                                                    ""),
    Refused("the address of everybody",           "http://255.255.255.255/",                                               ""),
    Refused("the address of nobody",              "http://0.0.0.0:8000/",                                                  ""),
    Refused("a file",                             "file:///etc/passwd",                                                    ""),
    Refused("another protocol",                   "gopher://127.0.0.1:25/_HELO",                                           ""),
    Refused("a password in it",                   "http://root:toor@127.0.0.1/",                                           ""),
    Refused("a line break in it",                 "http://127.0.0.1/\r\nX-Evil: 1",                                        ""),
)

# fmt: on
