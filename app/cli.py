"""The commands. Every failure that a person can mend is one clear line on stderr and a status other than 0."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

from cyclopts import App, CycloptsError

from app.commands import MISUSED, CommandError, say
from app.settings import BadSettingError


def _version() -> str:
    try:
        return version("signoff")
    except PackageNotFoundError:
        return "not installed"


app = App(
    name="signoff",
    help="Runs jobs on AI agents and signs a result off only when it meets the job's acceptance criteria.",
    version=_version,
    help_format="plaintext",
)

# A command's module is imported when it is run: printing a token need not wait for a web server.
COMMANDS = {
    "serve": ("serve:serve", "Serve the API and the pages, and run executions. SIGTERM drains."),
    "worker": ("serve:worker", "Run executions for the Temporal runner; health and metrics only."),
    "migrate": ("database:migrate_command", "Bring the database to the newest revision."),
    "token": ("token:token", "Print a signed bearer token, alone on the last line."),
    "schema": ("sdl:schema", "Print the GraphQL schema as SDL."),
    "purge": ("database:purge", "Empty old log payloads of finished executions, in batches."),
    "rotate-keys": ("database:rotate_keys", "Encrypt every stored secret with the present key."),
    "demo": ("demo:demo", "Watch one job go through on agents of this very machine, then look around."),
}
for _name, (_place, _help) in COMMANDS.items():
    app.command(f"app.commands.{_place}", name=_name, help=_help)


def main() -> None:
    """Run a command and exit with its status."""
    try:
        app(exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        fail(" ".join(str(error).split()), MISUSED, "`signoff --help` lists the commands.")
    except BadSettingError as error:
        fail(str(error), MISUSED)
    except CommandError as error:
        fail(str(error), error.status)
    except KeyboardInterrupt:
        sys.exit(130)


def fail(message: str, status: int, *more: str) -> NoReturn:
    """Say why on stderr, a line for each reason, and exit."""
    for line in (*message.splitlines(), *more):
        say(f"signoff: {line}", to_stderr=True)
    sys.exit(status)
