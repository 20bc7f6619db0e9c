"""Named tuples, made quickly."""

from __future__ import annotations

from typing import Any, cast

# Makes a named tuple of its values in half the time that calling its class takes.
new_tuple = cast("Any", tuple.__new__)  # pyright: ignore[reportUnknownMemberType]  (typeshed leaves it open)
