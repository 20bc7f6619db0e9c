"""`signoff schema`."""

from __future__ import annotations

import sys

from schema.build import build_schema


def schema() -> None:
    """Print the GraphQL schema as SDL."""
    sys.stdout.write(f"{build_schema().as_str()}\n")
