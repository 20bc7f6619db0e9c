"""The agent of the crash tests, a process of its own: writes down each request before it answers.

    python -m tests.crash.agent --port N --log FILE

A path of /2.5 answers after two and a half seconds; one of /together/1000 two seconds after so many are asked
there and wait.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path


async def main(port: int, log: Path) -> None:
    file = log.open("a", buffering=1)
    together: list[asyncio.Event] = []

    async def others(count: int) -> None:
        """Wait until so many wait here."""
        mine = asyncio.Event()
        together.append(mine)
        if len(together) == count:
            for event in together:
                event.set()
        await mine.wait()
        await asyncio.sleep(2)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = json.loads(await reader.readexactly(int(headers["content-length"])))
            file.write(json.dumps({"key": headers["idempotency-key"], "job_id": body["job_id"]}) + "\n")
            match first.split(" ")[1].strip("/").split("/"):
                case ["together", count]:
                    await others(int(count))
                case [delay]:
                    await asyncio.sleep(float(delay or 0))
                case _:
                    raise ValueError(first)
            answer = json.dumps({"ok": True, "text": "polite words"}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
            writer.write(b"content-length: %d\r\n\r\n" % len(answer) + answer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - tells its port
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path, required=True)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.port, arguments.log))
