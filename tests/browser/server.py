"""The server that the browser is shown: Signoff with its one-click people, and the demo's agents beside it.

    python -m tests.browser.server     the settings come from the environment, as always

Says what there is in one line of JSON once it serves.
"""

from __future__ import annotations

import asyncio
import json
import sys

from app.asgi import create_app
from app.demo import PEOPLE
from app.demo_agents.server import agents_served
from app.serving import listen, log_to_stderr, port_of, server_for
from app.settings import LOOPBACK, load


async def main() -> None:
    settings = load()
    sockets = listen(LOOPBACK, 0)
    app = create_app(settings, people=PEOPLE)
    server = server_for(app, app.state.drain, settings)
    async with agents_served() as agents:
        there_is = {
            "url": f"http://{LOOPBACK}:{port_of(sockets[0])}",
            "agents": [
                {
                    "name": agent.name,
                    "endpointUrl": agent.url,
                    "inputSchema": agent.input_schema,
                    "outputSchema": agent.output_schema,
                }
                for agent in agents
            ],
        }

        def tell() -> None:
            sys.stdout.write(f"serves {json.dumps(there_is)}\n")
            sys.stdout.flush()

        server.on_started = tell
        await server.serve(sockets)


if __name__ == "__main__":
    log_to_stderr()
    asyncio.run(main())
