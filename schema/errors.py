"""Which errors clients are shown. What nobody meant to show is a bug: masked, and logged with its trace."""

from __future__ import annotations

import logging
import re
from typing import Any

from graphql import GraphQLError, GraphQLSyntaxError
from strawberry.exceptions import MissingQueryError, StrawberryInputCoercionError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError

from schema.limits import TOO_COMPLEX
from services.redaction import REDACTED, Redaction
from services.refusals import BadRequestError, SlowConsumerError
from services.trace import current_trace_id, new_trace_id

log = logging.getLogger(__name__)

INVALID_INPUT = "INVALID_INPUT"
PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
BAD_REQUEST = "BAD_REQUEST"
INTERNAL = "INTERNAL"
SLOW_CONSUMER = "SLOW_CONSUMER"

_MALFORMED = (CannotGetOperationTypeError, InvalidOperationTypeError, MissingQueryError)


# graphql-core's guesses. It can leave them out itself, but Strawberry does not pass that on to where values are read.
_GUESS = re.compile(r" Did you mean (?:[a-z ]+ )?'[^'?]*'(?:(?:,| or|, or) '[^'?]*')*\?")


# What graphql-core quotes: an object of which one field is wrong, and a value that a scalar does not take.
_WHOLE_INPUT = re.compile(r"[.,]? [Ff]ound: .*\Z", re.DOTALL)
_SCALAR = re.compile(r"\b(?:String|Int|Float|Boolean|ID) cannot represent [\w -]+: ")
_IN_VARIABLE = re.compile(r"' has invalid value at (?:\S*\.)?(\w+)(?:\[\d+\])*: ")
_FIELD_NAME = re.compile(r"(\w+)\s*:[\s\[]*\Z")
_REDACTION = Redaction()


def shown(error: GraphQLError, *, suggests: bool = True) -> GraphQLError:
    """Return the error as a client sees it: with a code, masked where it is a bug, and with guesses or without."""
    seen = _shown(error)
    if suggests or not _GUESS.search(seen.message):
        return seen
    return _with(seen, _GUESS.sub("", seen.message), **(seen.extensions or {}))


def _shown(error: GraphQLError) -> GraphQLError:
    if "code" in (error.extensions or {}):
        return error
    cause = _cause(error)
    if cause is None:
        return _with(error, _without_credentials(error), _code_of(error))
    if isinstance(cause, BadRequestError | StrawberryInputCoercionError):
        return _with(error, str(cause), INVALID_INPUT)
    if isinstance(cause, SlowConsumerError):
        return _with(error, str(cause), SLOW_CONSUMER, cursor=cause.cursor)
    if isinstance(cause, _MALFORMED):
        return _with(error, error.message, BAD_REQUEST)
    trace_id = current_trace_id.get() or new_trace_id()
    log.error("GraphQL: %s at %s, trace %s", type(cause).__name__, error.path, trace_id, exc_info=cause)
    return GraphQLError(
        "Internal error",
        error.nodes,
        error.source,
        error.positions,
        error.path,
        extensions={"code": INTERNAL, "traceId": trace_id},
    )


def _without_credentials(error: GraphQLError) -> str:
    """Leave out of a message what it quotes of an input where that may be a credential: clients log errors."""
    message = _WHOLE_INPUT.sub(".", error.message)
    scalar = _SCALAR.search(message)
    if scalar is None:
        return message
    in_variable = _IN_VARIABLE.search(message)
    name = in_variable[1] if in_variable else _name_before(error)
    # Where graphql-core does not say what the value was for, it may be anything.
    return f"{message[: scalar.end()]}{REDACTED}" if name is None or _REDACTION.is_telling(name) else message


def _name_before(error: GraphQLError) -> str | None:
    """The name of the field that a literal was written for."""
    node = error.nodes[0] if error.nodes else None
    if node is None or node.loc is None:
        return None
    before = _FIELD_NAME.search(node.loc.source.body, max(0, node.loc.start - 200), node.loc.start)
    return before[1] if before else None


def _cause(error: GraphQLError) -> Exception | None:
    """The exception that is no GraphQL error, at the root of one that is."""
    cause = error.original_error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    return cause


def _code_of(error: GraphQLError) -> str:
    # graphql-core gives up on documents that would take it too long, and has no class of its own for that.
    if error.message.endswith("aborted."):
        return TOO_COMPLEX
    if isinstance(error, GraphQLSyntaxError):
        return PARSE_FAILED
    return VALIDATION_FAILED if error.path is None else INVALID_INPUT


def _with(error: GraphQLError, message: str, code: str, **more: Any) -> GraphQLError:
    extensions = {"code": code, **more}
    changed = GraphQLError(message, error.nodes, error.source, error.positions, error.path, extensions=extensions)
    changed.__cause__ = error
    return changed
