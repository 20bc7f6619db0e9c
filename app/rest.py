"""REST, for programs: one fixed GraphQL document over the same schema, so that the two never tell different things."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import orjson
from graphql import GraphQLError, GraphQLInputObjectType
from graphql.utilities import validate_input_value  # pyright: ignore[reportUnknownVariableType]
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from app.middleware import problem, unauthenticated
from db.records import JobStatus
from resolvers.context import Context, Services
from schema.errors import INTERNAL, INVALID_INPUT
from schema.scalars import datetime_text, written
from services.refusals import ErrorCode, Refusal, invalid, not_found
from services.strict_json import InvalidJsonError, canonical, parse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import strawberry
    from starlette.requests import Request

    from db.records import JobLog
    from services.viewer import Viewer

# The job with its scalars and small objects; its lists are GraphQL's business.
DOCUMENT = """
query Job($id: ID!) { job(id: $id) { ...TheJob } }

mutation Execute($input: ExecuteJobInput!) {
  executeJob(input: $input) { job { ...TheJob } userErrors { code message path retryAt } }
}

fragment TheJob on Job {
  id revision title description input status result createdAt updatedAt availableActions
  acceptanceCriteria { ...TheCriterion }
  notice { code message retryable failedCriteria { ...TheResult } }
  agent { id name executor endpointUrl timeoutSeconds idempotent enabled }
  owner { ...TheActor }
  latestExecution {
    id number jobRevision state outcome idempotencyKey answer queuedAt startedAt finishedAt nextRetryAt
    requestedBy { ...TheActor }
    validation {
      id validator model verdict feedback promptTokens completionTokens costUsd durationMs createdAt
      criteria { ...TheResult }
    }
  }
}
fragment TheActor on Actor { id displayName role }
fragment TheCriterion on Criterion { id text required expression jsonSchema }
fragment TheResult on CriterionResult { criterion { ...TheCriterion } verdict rationale evidence decidedBy }
"""

STATUS_OF: Mapping[ErrorCode, HTTPStatus] = {
    ErrorCode.INVALID_INPUT: HTTPStatus.BAD_REQUEST,
    ErrorCode.FORBIDDEN: HTTPStatus.FORBIDDEN,
    ErrorCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    ErrorCode.NOT_EXECUTABLE: HTTPStatus.CONFLICT,
    ErrorCode.NOT_ALLOWED_IN_STATUS: HTTPStatus.CONFLICT,
    ErrorCode.STALE_REVISION: HTTPStatus.CONFLICT,
    ErrorCode.IDEMPOTENCY_CONFLICT: HTTPStatus.CONFLICT,
    ErrorCode.RATE_LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
    ErrorCode.OVERLOADED: HTTPStatus.SERVICE_UNAVAILABLE,
}
NDJSON = "application/x-ndjson"


class _RefusedError(Exception):
    """Carries a refusal out of the reading of a request."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


@dataclass(frozen=True)
class Rest:
    """The three routes. `services` hands out what the lifespan has opened."""

    schema: strawberry.Schema
    services: Callable[[], Services]
    execute_input: GraphQLInputObjectType

    @classmethod
    def over(cls, schema: strawberry.Schema, services: Callable[[], Services]) -> Rest:
        """Make it for a schema."""
        # Printing the schema and parsing it again takes longer than everything else that is done at the start.
        types = schema._schema.type_map  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        execute_input = types["ExecuteJobInput"]
        return cls(schema, services, cast("GraphQLInputObjectType", execute_input))

    def routes(self) -> list[Route]:
        """What it answers."""
        return [
            Route("/api/jobs/{job_id}", self.job, methods=["GET"]),
            Route("/api/jobs/{job_id}/execute", self.execute, methods=["POST"]),
            Route("/api/jobs/{job_id}/logs", self.logs, methods=["GET"]),
        ]

    async def job(self, request: Request) -> Response:
        """`GET /api/jobs/{jobId}`."""
        viewer: Viewer | None = request.scope["viewer"]
        if viewer is None:
            return unauthenticated("Send a bearer token.")
        job_id: str = request.path_params["job_id"]
        answer = await self._run("Job", {"id": job_id}, viewer)
        if isinstance(answer, Response):
            return answer
        return JSONResponse(answer["job"]) if answer["job"] else refused(not_found("job", job_id, "jobId"))

    async def execute(self, request: Request) -> Response:
        """`POST /api/jobs/{jobId}/execute`: 200, or 202 where the wait was over before the execution was."""
        viewer: Viewer | None = request.scope["viewer"]
        if viewer is None:
            return unauthenticated("Send a bearer token.")
        try:
            command = await self._command(request)
        except _RefusedError as error:
            return refused(error.refusal)
        answer = await self._run("Execute", {"input": command}, viewer)
        if isinstance(answer, Response):
            return answer
        payload = answer["executeJob"]
        if payload["userErrors"]:
            return refused_by_graphql(payload["userErrors"])
        running = payload["job"]["status"] == JobStatus.IN_EXECUTION.name
        return JSONResponse(payload["job"], HTTPStatus.ACCEPTED if running else HTTPStatus.OK)

    async def logs(self, request: Request) -> Response:
        """`GET /api/jobs/{jobId}/logs`: an entry a line, oldest first, however many there are."""
        viewer: Viewer | None = request.scope["viewer"]
        if viewer is None:
            return unauthenticated("Send a bearer token.")
        job_id: str = request.path_params["job_id"]
        if await self.services().jobs.get(viewer, job_id) is None:
            return refused(not_found("job", job_id, "jobId"))
        return StreamingResponse(self._lines(viewer, job_id), media_type=NDJSON)

    async def _lines(self, viewer: Viewer, job_id: str) -> AsyncGenerator[str]:
        async for entry in self.services().logs.export(viewer, job_id):
            yield canonical(log_object(entry)) + "\n"

    async def _command(self, request: Request) -> dict[str, Any]:
        """Read an ExecuteJobInput from the path, the body and the header. Raises _RefusedError."""
        body = await request.body()
        try:
            parsed: object = parse(body) if body.strip() else {}
        except InvalidJsonError as error:
            raise _RefusedError(invalid(f"The body is not strict JSON: {error}")) from None
        if not isinstance(parsed, dict):
            raise _RefusedError(invalid("The body must be a JSON object."))
        command = cast("dict[str, Any]", parsed)
        if "jobId" in command:
            raise _RefusedError(invalid("The job is named by the path, not by the body.", "jobId"))
        key = request.headers.get("idempotency-key")
        if key is not None and command.setdefault("idempotencyKey", key) != key:
            message = "The header Idempotency-Key and the body's idempotencyKey differ."
            raise _RefusedError(invalid(message, "idempotencyKey"))
        command["jobId"] = request.path_params["job_id"]
        validate_input_value(command, self.execute_input, _refuse_value, hide_suggestions=True)
        return command

    async def _run(self, operation: str, variables: dict[str, Any], viewer: Viewer) -> dict[str, Any] | Response:
        """Run an operation of the document: its data, or the response that an error makes."""
        result = await self.schema.execute(
            DOCUMENT, variables, Context(self.services(), viewer), operation_name=operation
        )
        if not result.errors:
            # As JSON has it: scalars leave some of that to whoever writes an answer.
            data: dict[str, Any] = orjson.loads(written(result.data))
            return data
        error = result.errors[0]
        code = str((error.extensions or {}).get("code", INTERNAL))
        if code == INVALID_INPUT:
            return refused(invalid(error.message))
        # The document is right and somebody is asking: what is left are bugs.
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, code, error.message)


def _refuse_value(error: GraphQLError, path: list[str | int]) -> None:
    raise _RefusedError(invalid(error.message, *map(str, path)))


def refused(refusal: Refusal) -> JSONResponse:
    """Answer with a refusal of our own."""
    return refused_by_graphql(
        [
            {
                "code": refusal.code.name,
                "message": refusal.message,
                "path": None if refusal.path is None else list(refusal.path),
                "retryAt": None if refusal.retry_at is None else datetime_text(refusal.retry_at),
            }
        ]
    )


def refused_by_graphql(user_errors: list[dict[str, Any]]) -> JSONResponse:
    """Answer with the refusals of a payload, under the status of the first."""
    first, headers = user_errors[0], dict[str, str]()
    if first["retryAt"] is not None:
        left = datetime.fromisoformat(first["retryAt"]) - datetime.now(UTC)
        headers["retry-after"] = str(max(1, math.ceil(left.total_seconds())))
    return JSONResponse({"userErrors": user_errors}, STATUS_OF[ErrorCode[first["code"]]], headers)


def log_object(entry: JobLog) -> dict[str, Any]:
    """A log entry under the SDL's names and enum values; of its execution only the id."""
    return {
        "id": entry.id,
        "jobId": entry.job_id,
        "execution": None if entry.execution_id is None else {"id": entry.execution_id},
        "attempt": entry.attempt,
        "timestamp": datetime_text(entry.timestamp),
        "type": entry.type.name,
        "status": entry.status.name,
        "message": entry.message,
        "actor": {
            "id": entry.actor.id,
            "displayName": entry.actor.display_name,
            "role": entry.actor.role.name if entry.actor.role else None,
        },
        "payload": entry.payload,
        "payloadState": entry.payload_state.name,
        "payloadBytes": entry.payload_bytes,
        "fromStatus": entry.from_status.name if entry.from_status else None,
        "toStatus": entry.to_status.name if entry.to_status else None,
        "httpStatus": entry.http_status,
        "durationMs": entry.duration_ms,
        "errorCode": entry.error_code,
        "traceId": entry.trace_id,
    }
