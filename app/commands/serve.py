"""`signoff serve` and `signoff worker`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter, validators

from app import serving
from app.asgi import create_app
from app.commands import MISUSED, CommandError, say
from app.commands.database import migrate
from app.secrets import credentials_in
from app.settings import LOOPBACK, load

PORTS = validators.Number(gte=0, lte=65_535)


def serve(
    *,
    host: Annotated[str, Parameter(help="Others than this machine's own need SIGNOFF_TRUSTED_HOSTS.")] = LOOPBACK,
    port: Annotated[int, Parameter(help="0 takes a free one.", validator=PORTS)] = 8000,
) -> None:
    """Serve the API and the pages, and run executions. SIGTERM drains."""
    settings = load(host)
    if settings.runner != "in_process":
        raise CommandError("SIGNOFF_RUNNER: the Temporal runner is not there yet; use in_process.", MISUSED)
    if settings.jwks_url is not None:
        raise CommandError("SIGNOFF_JWKS_URL: an identity provider's tokens are not read yet.", MISUSED)
    if settings.validator not in {"openai", "http"}:
        raise CommandError(f"SIGNOFF_VALIDATOR: there is no validator {settings.validator!r} here.", MISUSED)
    serving.log_to_stderr(credentials=credentials_in(settings))
    try:
        sockets = serving.listen(host, port)
    except OSError as error:
        why = error.strerror or str(error)
        raise CommandError(f"cannot listen on {host}:{port}: {why}. Another port: --port N") from None
    migrate(settings)
    app = create_app(settings, migrates=False)
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{serving.port_of(sockets[0])}"
    server = serving.server_for(app, app.state.drain, settings)
    server.on_started = lambda: say(f"Signoff serves at {address}/graphql (Ctrl-C ends)", to_stderr=True)
    server.run(sockets)


def worker() -> None:
    """Run executions for the Temporal runner; health and metrics only."""
    raise CommandError("the Temporal runner is not there yet: `signoff serve` runs executions itself.", MISUSED)
