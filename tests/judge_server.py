"""A judge to test against: a real HTTP server that speaks Chat Completions and decides by simple rules.

A criterion that names words in double quotes passes if the submission holds all of them, quoting them, and
fails otherwise; any other criterion gets the default verdict. What else the server does is scripted, one step
for each request.

    python -m tests.judge_server --port 8099 --log requests.jsonl

`PUT /script` with a list of steps (the fields of Step) replaces the script, `PUT /rules` the rules (the
fields of Rules). Each request is written down before it is answered, one JSON line each, without credentials.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeAlias

_QUOTED = re.compile(r'["“]([^"“”]+)["”]')
_TO_THE_GRADER = re.compile(r"grader|as an ai|ignore (all|any|the|previous) ", re.IGNORECASE)


Json: TypeAlias = Any  # as json.loads makes it


@dataclass(frozen=True)
class Step:
    """What happens to the next request, or the next few."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: Json = None
    """The whole response body instead of a completion: a string as HTML, anything else as JSON."""
    content: str | None = None
    """The model's words instead of a judgement."""
    answer: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """Members that replace those of the judgement."""
    finish_reason: str = "stop"
    delay_seconds: float = 0.0
    drip_seconds: float | None = None
    """Send the body byte by byte, this far apart."""
    cut: bool = False
    """Close the connection in the middle of the body."""
    times: int = 1


@dataclass(frozen=True)
class Rules:
    default: str = "pass"


class JudgeServer:
    """The server. `requests` are the bodies of all completions asked of it; `script` is used up."""

    def __init__(self, log: Path | None = None, rules: Rules | None = None) -> None:
        self.requests: list[Json] = []
        self.asked = asyncio.Event()
        self.script: deque[Step] = deque()
        self.rules = rules or Rules()
        self._log = log
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    @property
    def url(self) -> str:
        """What OPENAI_BASE_URL has to be."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}/v1"

    # -------------------------------------------------------------------------------------------------- HTTP

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not a coroutine, so that the connection's task is ours to cancel.
        connection = asyncio.ensure_future(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close: a client never waits for a second one on a dying connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
            }
            body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))) or b"null")
            await self._answer(method, path, headers, body, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went away
        finally:
            writer.close()

    async def _answer(
        self, method: str, path: str, headers: Mapping[str, str], body: Json, writer: asyncio.StreamWriter
    ) -> None:
        match method, path:
            case "POST", "/v1/chat/completions":
                self._write_down(headers, body)
                await self._complete(body, self._next_step(), writer)
            case "PUT", "/script":
                self.script = deque(Step(**step) for step in body)
                await _send(writer, Step(status=204), b"")
            case "PUT", "/rules":
                self.rules = Rules(**body)
                await _send(writer, Step(status=204), b"")
            case _:
                error = {
                    "error": {
                        "message": f"Unknown request URL: {method} {path}",
                        "type": "invalid_request_error",
                    }
                }
                await _send(writer, Step(status=404), json.dumps(error).encode())

    def _write_down(self, headers: Mapping[str, str], body: Json) -> None:
        self.requests.append(body)
        self.asked.set()
        if self._log is not None:
            shown = {name: value for name, value in headers.items() if name != "authorization"}
            entry = {
                "at": time.time(),
                "authorized": "authorization" in headers,
                "headers": shown,
                "body": body,
            }
            with self._log.open("a") as log:
                log.write(json.dumps(entry) + "\n")

    def _next_step(self) -> Step:
        if not self.script:
            return Step()
        step = self.script.popleft()
        if step.times > 1:
            self.script.appendleft(replace(step, times=step.times - 1))
        return step

    async def _complete(self, request: Json, step: Step, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(step.delay_seconds)
        if isinstance(step.body, str):
            await _send(writer, step, step.body.encode(), "text/html")
            return
        if step.body is not None:
            payload = step.body
        elif step.status >= HTTPStatus.BAD_REQUEST:
            payload = {"error": {"message": "scripted", "type": "scripted", "param": None, "code": None}}
        else:
            payload = completion(request, step, self.rules)
        await _send(writer, step, json.dumps(payload, ensure_ascii=False).encode())


async def _send(writer: asyncio.StreamWriter, step: Step, body: bytes, content_type: str = "application/json") -> None:
    headers = {
        "content-type": content_type,
        "content-length": str(len(body)),
        "connection": "close",
        "x-request-id": "req_judge_server",
        **step.headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {step.status} {HTTPStatus(step.status).phrase}\r\n{head}\r\n".encode("latin-1"))
    if step.cut:
        writer.write(body[: len(body) // 2])
    elif step.drip_seconds is None:
        writer.write(body)
    else:
        for byte in body:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(step.drip_seconds)
    await writer.drain()


# ------------------------------------------------------------------------------------------------ the judge


def completion(request: Json, step: Step, rules: Rules) -> Json:
    """Make the Chat Completion that answers a request."""
    content = step.content
    if content is None:
        document = json.loads(request["messages"][1]["content"])
        content = json.dumps(judge(document, rules) | dict(step.answer), ensure_ascii=False)
    prompt_tokens = sum(len(message["content"]) for message in request["messages"]) // 4
    return {
        "id": "chatcmpl-judge-server",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request["model"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, "refusal": None},
                "finish_reason": step.finish_reason,
                "logprobs": None,
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": len(content) // 4,
            "total_tokens": prompt_tokens + len(content) // 4,
        },
    }


def judge(document: Json, rules: Rules) -> dict[str, Json]:
    """Judge by the rules; the answer is of the form that the judge wire asks for."""
    texts = list(_texts(json.loads(document["submission"])))
    return {
        "nonce": document["nonce"],
        "addresses_grader": any(_TO_THE_GRADER.search(text) for text in texts),
        "results": [_result(criterion, texts, rules) for criterion in document["criteria"]],
    }


def _result(criterion: Json, texts: list[str], rules: Rules) -> dict[str, Json]:
    words = _QUOTED.findall(criterion["text"])
    missing = [word for word in words if not any(word in text for text in texts)]
    if missing:
        verdict, evidence, rationale = "fail", [], f"The submission does not mention {missing[0]}."
    elif words:
        verdict, evidence, rationale = "pass", words, "The submission mentions what is asked for."
    else:
        verdict, evidence, rationale = rules.default, texts[:1], "By the default rule."
    return {"id": criterion["id"], "evidence": evidence, "rationale": rationale, "verdict": verdict}


def _texts(value: Json) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        if value.strip():
            yield value
    else:
        yield json.dumps(value)


# ----------------------------------------------------------------------------------------------- running it


@asynccontextmanager
async def judge_server(rules: Rules | None = None) -> AsyncGenerator[JudgeServer]:
    """A judge server in this process, on a free port."""
    server = JudgeServer(rules=rules)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def _main(port: int, log: Path | None, rules: Rules) -> None:
    server = JudgeServer(log, rules)
    await server.start(port)
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="default: a free one, printed at start")
    parser.add_argument("--log", type=Path, help="file that requests are appended to")
    parser.add_argument("--default", default="pass", choices=["pass", "fail", "unsure"])
    arguments = parser.parse_args()
    asyncio.run(_main(arguments.port, arguments.log, Rules(arguments.default)))
