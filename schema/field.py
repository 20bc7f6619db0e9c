"""How a field is declared: its annotation says the type, `resolver` how it is had, the description what it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import strawberry


def field(description: str, *, resolver: Callable[..., object] | None = None, name: str | None = None) -> Any:
    """Declare a field. Without a resolver it is the record's attribute of the same name.

    Returns Any, because a resolver returns records and the annotation names the type that shows them.
    """
    if resolver is None:
        return strawberry.field(description=description, name=name)
    return strawberry.field(description=description, resolver=resolver)


def subscription(description: str, *, resolver: Callable[..., object]) -> Any:
    """Declare a field of the Subscription type, as `field` does; the annotation is AsyncGenerator of the type."""
    return strawberry.subscription(description=description, resolver=resolver)
