"""What must hold in the database at any instant, whatever was killed: the design's invariants, in SQL.

The witness's half (nothing was sent that has no request entry) is the crash harness's, which has a witness.
"""

from __future__ import annotations

from itertools import groupby

from sqlalchemy import text

from db.session import Transaction

_STATEMENTS = {
    "IN_EXECUTION exactly with one live execution": """
        SELECT j.id FROM jobs j
        WHERE (j.status = 'in_execution')
           <> (1 = (SELECT count(*) FROM executions e WHERE e.job_id = j.id AND e.state <> 'finished'))
    """,
    "COMPLETED exactly with a result": """
        SELECT id FROM jobs WHERE (status = 'completed') <> (result IS NOT NULL)
    """,
    "COMPLETED by an accepted execution or an override": """
        SELECT j.id FROM jobs j
        WHERE j.status = 'completed'
          AND NOT EXISTS (SELECT 1 FROM executions e WHERE e.job_id = j.id AND e.outcome = 'accepted')
          AND NOT EXISTS (SELECT 1 FROM job_logs l WHERE l.job_id = j.id AND l.type = 'admin_action')
    """,
    "one response for each request of a finished execution": """
        SELECT q.id FROM job_logs q JOIN executions e ON e.id = q.execution_id
        WHERE q.type IN ('agent_request', 'validator_request') AND e.state = 'finished'
          AND 1 <> (SELECT count(*) FROM job_logs r WHERE r.answers = q.id)
    """,
    "a response answers a request of its own execution and kind": """
        SELECT r.id FROM job_logs r JOIN job_logs q ON q.id = r.answers
        WHERE r.execution_id <> q.execution_id OR r.seq < q.seq
           OR r.type <> CASE q.type WHEN 'agent_request' THEN 'agent_response' ELSE 'validator_response' END
    """,
    "at most one open request an execution": """
        SELECT q.execution_id FROM job_logs q
        WHERE q.type IN ('agent_request', 'validator_request')
          AND NOT EXISTS (SELECT 1 FROM job_logs r WHERE r.answers = q.id)
        GROUP BY q.execution_id HAVING count(*) > 1
    """,
    "as many agent requests in the log as were counted": """
        SELECT e.id FROM executions e
        WHERE e.agent_tries <> (
            SELECT count(*) FROM job_logs l WHERE l.execution_id = e.id AND l.type = 'agent_request')
    """,
    "an accepted execution was validated, and its validation is there": """
        SELECT e.id FROM executions e LEFT JOIN validations v ON v.id = e.latest_validation_id
        WHERE (e.outcome = 'accepted' OR e.latest_validation_id IS NOT NULL) AND v.id IS NULL
    """,
    "a finished execution holds no slot": """
        SELECT s.execution_id FROM agent_slots s JOIN executions e ON e.id = s.execution_id
        WHERE e.state = 'finished'
    """,
    "no reply is kept of a settled validation": """
        SELECT r.execution_id FROM validator_replies r JOIN executions e ON e.id = r.execution_id
        WHERE e.state = 'finished'
    """,
    "as many jobs of an owner in a status as are counted": """
        SELECT owner_id || ': ' || status FROM (
            SELECT owner_id, status, 1 AS jobs FROM jobs
            UNION ALL SELECT owner_id, status, -jobs FROM job_counts WHERE owner_id <> ''
            UNION ALL SELECT owner_id, status, -change FROM job_count_changes) AS counted
        GROUP BY owner_id, status HAVING sum(jobs) <> 0
    """,
    "as many jobs in a status as are counted of everybody": """
        SELECT status FROM (
            SELECT status, 1 AS jobs FROM jobs
            UNION ALL SELECT status, -jobs FROM job_counts WHERE owner_id = ''
            UNION ALL SELECT status, -change FROM job_count_changes) AS counted
        GROUP BY status HAVING sum(jobs) <> 0
    """,
}

_CHANGES = """
    SELECT job_id, from_status, to_status, jobs.status FROM job_logs JOIN jobs ON jobs.id = job_logs.job_id
    WHERE type = 'status_change' ORDER BY job_id, seq
"""


async def violations(tx: Transaction) -> list[str]:
    """Return one line for each thing that does not hold; none where all is well."""
    found: list[str] = []
    for rule, statement in _STATEMENTS.items():
        found += [f"{rule}: {row[0]}" for row in await tx.connection.execute(text(statement))]
    rows = (await tx.connection.execute(text(_CHANGES))).all()
    for job_id, changes in groupby(rows, key=lambda row: row[0]):
        before: str | None = None
        present: str | None = None
        for _, from_status, to_status, status in changes:
            if from_status != before:
                found.append(f"status changes chain: {job_id}: {before} then {from_status} -> {to_status}")
            before, present = to_status, status
        if before != present:
            found.append(f"status changes lead to the present status: {job_id}: {before}, not {present}")
    unlogged = "SELECT id FROM jobs WHERE NOT EXISTS (SELECT 1 FROM job_logs WHERE job_id = jobs.id)"
    found += [f"every job is logged: {row[0]}" for row in await tx.connection.execute(text(unlogged))]
    return found
