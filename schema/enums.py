"""The enums of the records and services as GraphQL shows them: under the names of their members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, cast

import strawberry
from strawberry.types.enum import StrawberryEnumDefinition

from db.records import (
    ExecutionOutcome,
    ExecutionState,
    JobLogStatus,
    JobLogType,
    JobOrderField,
    JobStatus,
    OrderDirection,
    PayloadState,
    Role,
    Verdict,
)
from services.executions.comparison import CriterionChange
from services.lifecycle import JobAction
from services.refusals import ErrorCode

# Each with a description of itself and of each of its members.
_ENUMS: Sequence[tuple[type[Enum], str, Mapping[str, str]]] = (
    (
        Role,
        "What a person may do.",
        {"CLIENT": "Has jobs, and sees their own.", "ADMIN": "Sees and may do everything."},
    ),
    (
        JobStatus,
        "Where a job stands.",
        {
            "PENDING": "Created, without an agent.",
            "ASSIGNED": "Has an agent and waits for somebody to press Execute.",
            "IN_EXECUTION": "The agent is called, or its answer validated.",
            "RESUBMISSION_REQUIRED": "Executed, but not accepted: correct it or try again.",
            "COMPLETED": "The result is validated and accepted.",
        },
    ),
    (
        JobAction,
        "What may be done to a job.",
        {
            "EDIT": "updateJob.",
            "ASSIGN": "assignJob.",
            "EXECUTE": "executeJob.",
            "RETRY_VALIDATION": "retryValidation.",
            "CANCEL": "cancelExecution.",
            "FORCE_EXECUTE": "executeJob with force.",
            "FORCE_ASSIGN": "forceAssignJob.",
            "FORCE_COMPLETE": "forceCompleteJob.",
            "FORCE_RESUBMISSION": "forceResubmission.",
        },
    ),
    (
        ExecutionState,
        "Where an execution stands. The job's status is IN_EXECUTION until FINISHED.",
        {
            "QUEUED": "Waits for its turn.",
            "CALLING_AGENT": "The agent has it.",
            "VALIDATING": "The agent has answered; its answer is being validated.",
            "WAITING_RETRY": "The validator is not available just now; it is asked again at nextRetryAt.",
            "FINISHED": "Has an outcome.",
        },
    ),
    (
        ExecutionOutcome,
        "How an execution ended.",
        {
            "ACCEPTED": "Every required criterion passed: the job is COMPLETED.",
            "REJECTED": "A required criterion failed: RESUBMISSION_REQUIRED.",
            "UNDECIDED": "None failed but a required one could not be decided: RESUBMISSION_REQUIRED, for a person.",
            "OUTPUT_INVALID": "The answer does not meet the agent's output schema: RESUBMISSION_REQUIRED.",
            "INPUT_INVALID": "The job's data does not fit the agent, which was not called: status as before.",
            "AGENT_FAILED": "The agent could not be reached or answered with an error: status as before.",
            "AGENT_OUTCOME_UNKNOWN": "The request may have arrived, but no answer was had: status as before.",
            "VALIDATOR_UNAVAILABLE": "The validator stayed unavailable; the answer is kept: RESUBMISSION_REQUIRED.",
            "CANCELLED": "Cancelled by a person: status as before.",
            "SUPERSEDED": "Ended by an admin's override.",
        },
    ),
    (
        Verdict,
        "What was decided of a criterion, or of all of them together.",
        {"PASS": "It is met.", "FAIL": "It is not met.", "UNSURE": "It cannot be told; never taken for a pass."},
    ),
    (
        CriterionChange,
        "What became of a criterion since the attempt before. Only PASS is met: from FAIL to UNSURE is no step.",
        {
            "FIXED": "It is met now and was not before.",
            "REGRESSED": "It was met before and is not now.",
            "UNCHANGED": "Met now as before, or not met now as before.",
            "NEW": "It was not decided before, or demanded something else then.",
        },
    ),
    (
        JobLogType,
        "The kinds of log entry.",
        {
            "AGENT_REQUEST": "Something is about to be sent to the agent.",
            "AGENT_RESPONSE": "What came of it.",
            "VALIDATOR_REQUEST": "Something is about to be asked of the validator.",
            "VALIDATOR_RESPONSE": "What came of it.",
            "STATUS_CHANGE": "The job's status changed.",
            "JOB_EDIT": "The job was edited, or given another agent, without a change of status.",
            "ADMIN_ACTION": "An admin overrode something, and said why.",
        },
    ),
    (
        JobLogStatus,
        "How the logged thing went.",
        {
            "OK": "Well.",
            "ERROR": "It failed.",
            "TIMEOUT": "It took too long; it may have happened all the same.",
            "UNKNOWN": "Nobody knows whether it happened.",
        },
    ),
    (
        PayloadState,
        "What is kept of a log entry's payload.",
        {
            "STORED": "All of it.",
            "TRUNCATED": "Its beginning and its SHA-256: it was too large.",
            "PURGED": "Nothing any more: it was old.",
        },
    ),
    (
        JobOrderField,
        "A moment in a job's life.",
        {"CREATED_AT": "When it was created.", "UPDATED_AT": "When it last changed."},
    ),
    (OrderDirection, "Which end comes first.", {"ASC": "The oldest.", "DESC": "The newest."}),
    (
        ErrorCode,
        "Why something was refused.",
        {
            "INVALID_INPUT": "Something in the input is wrong: see path.",
            "NOT_FOUND": "There is no such thing, or it is not yours.",
            "FORBIDDEN": "Only an admin may do this.",
            "NOT_EXECUTABLE": "Wrong status for Execute, no agent, or a disabled one.",
            "NOT_ALLOWED_IN_STATUS": "Wrong status for this.",
            "STALE_REVISION": "The job was changed since you looked at it.",
            "IDEMPOTENCY_CONFLICT": "The idempotency key was used with other arguments.",
            "OVERLOADED": "Too much is waiting already; nothing was changed.",
            "RATE_LIMITED": "Too many mutations: come back at retryAt.",
        },
    ),
)


def register() -> None:
    """Describe the enums to Strawberry, in place; once or more often."""
    for enum, description, members in _ENUMS:
        if not hasattr(enum, "__strawberry_definition__"):
            strawberry.enum(enum)
        # Whoever named the enum in an annotation before holds this very definition.
        definition = cast("StrawberryEnumDefinition", cast("Any", enum).__strawberry_definition__)
        definition.description = description
        for value in definition.values:
            value.description = members[value.name]
