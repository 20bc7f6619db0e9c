"""Which plug-ins are installed: packages that name an executor or a validator in their entry points."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

from services.plugins import Installed

log = logging.getLogger(__name__)

EXECUTORS, VALIDATORS = "signoff.executors", "signoff.validators"
BUILT_IN = {EXECUTORS: frozenset({"http_json"}), VALIDATORS: frozenset({"openai", "http"})}


def installed(group: str) -> Sequence[Installed]:
    """The plug-ins of a group by name, none imported yet; one whose name is taken is left out, and logged."""
    found: dict[str, Installed] = {}
    for point in sorted(entry_points(group=group), key=lambda point: (point.name, _origin(point))):
        if point.name in BUILT_IN[group] or point.name in found:
            whose = found[point.name].origin if point.name in found else "Signoff itself"
            log.error(
                "The plug-in %s is left out: the name %r in %s is taken by %s.",
                _origin(point),
                point.name,
                group,
                whose,
            )
            continue
        found[point.name] = Installed(point.name, _origin(point), point.load)
    return tuple(found.values())


def names(group: str) -> Sequence[str]:
    """What may be named in a setting or by an agent."""
    return sorted(BUILT_IN[group].union(point.name for point in entry_points(group=group)))


def _origin(point: EntryPoint) -> str:
    return point.value if point.dist is None else f"{point.dist.name} {point.dist.version}"
