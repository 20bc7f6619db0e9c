"""`signoff demo`."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from app.commands import FAILED, CommandError
from app.commands.serve import PORTS
from app.demo import DemoError, run


def demo(
    *,
    once: Annotated[bool, Parameter(help="Exit after it; the status says whether it completed.", negative="")] = False,
    port: Annotated[int | None, Parameter(help="8000, or any free one where that is taken.", validator=PORTS)] = None,
) -> None:
    """Watch one job go through on agents of this very machine, then look around. Needs no keys and no servers."""
    try:
        completed = run(port, once=once)
    except OSError as error:
        raise CommandError(f"the demo cannot run: {error.strerror or error}") from None
    except DemoError as error:
        raise CommandError(f"the demo cannot go on: {error}") from None
    if not completed:
        sys.exit(FAILED)
