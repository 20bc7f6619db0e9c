"""`signoff serve` and `signoff worker`."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from socket import socket
from typing import Annotated

from cyclopts import Parameter, validators

from app import plugins, serving
from app.asgi import create_app, create_worker
from app.commands import MISUSED, CommandError, say
from app.commands.database import migrate
from app.secrets import credentials_in
from app.settings import LOOPBACK, Settings, load, misspelt
from app.tracing import trace_as_told

PORTS = validators.Number(gte=0, lte=65_535)


def serve(
    *,
    host: Annotated[str, Parameter(help="Others than this machine's own need SIGNOFF_TRUSTED_HOSTS.")] = LOOPBACK,
    port: Annotated[int, Parameter(help="0 takes a free one.", validator=PORTS)] = 8000,
) -> None:
    """Serve the API and the pages, and run executions. SIGTERM drains."""
    settings = load(host)
    sockets = _ready(settings, host, port)
    app = create_app(settings, migrates=False)
    address = _address(host, sockets[0])
    server = serving.server_for(app, app.state.drain, settings)
    server.on_started = partial(_started, f"Signoff serves at {address}/graphql", *_to_know(settings, address))
    server.run(sockets)


def worker(
    *,
    host: Annotated[str, Parameter(help="Where health and metrics are served.")] = LOOPBACK,
    port: Annotated[int, Parameter(help="0 takes a free one.", validator=PORTS)] = 8001,
) -> None:
    """Run executions for the Temporal runner; health and metrics only. SIGTERM drains."""
    # Nobody is let in by a name here, so none has to be known.
    settings = load(LOOPBACK)
    sockets = _ready(settings, host, port)
    app = create_worker(settings)
    address = _address(host, sockets[0])
    server = serving.server_for(app, app.state.drain, settings)
    queue = f"{settings.temporal_task_queue!r} at {settings.temporal_address}"
    server.on_started = partial(_started, f"Signoff works on {queue}, health at {address}/readyz")
    server.run(sockets)


def _started(what: str, *more: str) -> None:
    """Settle down, and tell."""
    serving.collect_seldom()
    for line in (f"{what} (Ctrl-C ends)", *more):
        say(line, to_stderr=True)


def _to_know(settings: Settings, address: str) -> Generator[str]:
    """What whoever starts it for the first time does not see."""
    yield f"The pages: {address}/ (a token to sign in with: signoff token --subject NAME --role admin)"
    if settings.validator == "openai" and settings.openai_api_key is None:
        yield "OPENAI_API_KEY is not set: criteria without an expression or a JSON Schema stay undecided."


def _ready(settings: Settings, host: str, port: int) -> list[socket]:
    """Make sure that what is set is there, begin to log, take the port, and migrate. Raises CommandError."""
    if settings.validator not in (known := plugins.names(plugins.VALIDATORS)):
        there = ", ".join(known)
        raise CommandError(
            f"SIGNOFF_VALIDATOR: there is no validator {settings.validator!r} here; installed: {there}.", MISUSED
        )
    for line in misspelt():
        say(f"signoff: {line}", to_stderr=True)
    trace_as_told()
    serving.log_to_stderr(credentials=credentials_in(settings))
    try:
        sockets = serving.listen(host, port)
    except OSError as error:
        why = error.strerror or str(error)
        raise CommandError(f"cannot listen on {host}:{port}: {why}. Another port: --port N") from None
    migrate(settings)
    return sockets


def _address(host: str, bound: socket) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{serving.port_of(bound)}"
