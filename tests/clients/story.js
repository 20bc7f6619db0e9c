// What every client is put through: a job from its creation to its result, followed live, and the two kinds of refusal.
// A client brings its own way to ask and to follow; what must come of it is said here, once.

import assert from 'node:assert/strict';

export const { SIGNOFF_URL: url, SIGNOFF_TOKEN: token, SIGNOFF_AGENT: agentId } = process.env;
export const socketUrl = url.replace(/^http/, 'ws');
export const authorization = `Bearer ${token}`;

export const VIEWER = `
  query Viewer { viewer { id role } }
`;

// The cursor is read with the job: what happens to it from then on is told to whoever follows `after` it.
export const START = `
  query Start($id: ID!) { feedCursor job(id: $id) { id status availableActions } }
`;

export const CREATE = `
  mutation Create($input: CreateJobInput!) {
    createJob(input: $input) { job { id status } userErrors { code message path } }
  }
`;

export const EXECUTE = `
  mutation Execute($input: ExecuteJobInput!) {
    executeJob(input: $input) { execution { id number } userErrors { code message } }
  }
`;

export const FOLLOW = `
  subscription Follow($id: ID!, $after: String) {
    jobStatusChanged(jobId: $id, after: $after) {
      cursor fromStatus toStatus actor { displayName role } job { id status }
    }
  }
`;

export const READ = `
  query Read($id: ID!) {
    job(id: $id) {
      id
      status
      result
      logs(first: 100) {
        totalCount
        pageInfo { hasNextPage endCursor }
        edges { cursor node { id type actor { displayName } execution { id outcome job { id } } } }
      }
      latestExecution {
        id
        outcome
        agent { id name }
        validation { verdict criteria { verdict criterion { text } } }
        logs(last: 2) { nodes { id type } }
      }
    }
  }
`;

/**
 * @param ask     (document, variables) => the data; rejects where there are errors
 * @param follow  (document, variables, take) => a promise; hands each event's data to `take` until that returns true
 */
export async function tell(ask, follow) {
  const { viewer } = await ask(VIEWER, {});
  assert.equal(viewer.role, 'CLIENT');

  // A refusal that a client can act on is data, not an error.
  const refused = (await ask(CREATE, { input: { title: '', acceptanceCriteria: [] } })).createJob;
  assert.equal(refused.job, null);
  assert.deepEqual([...new Set(refused.userErrors.map((error) => error.code))], ['INVALID_INPUT']);
  assert.ok(refused.userErrors.every((error) => error.path.length > 0));

  const check = { expression: 'answer.ok' };
  const input = { title: 'A job', acceptanceCriteria: [{ text: 'It is ok.', check }], agentId };
  const created = (await ask(CREATE, { input })).createJob;
  assert.deepEqual(created.userErrors, []);
  const { id } = created.job;

  const { feedCursor, job } = await ask(START, { id });
  assert.equal(job.status, 'ASSIGNED');
  assert.ok(job.availableActions.includes('EXECUTE'));

  const seen = [];
  const followed = follow(FOLLOW, { id, after: feedCursor }, ({ jobStatusChanged: change }) => {
    assert.equal(change.job.id, id);
    seen.push(`${change.fromStatus} → ${change.toStatus}, ${change.actor.role}`);
    return change.toStatus === 'COMPLETED';
  });
  // waitSeconds 0: the mutation starts it, the subscription tells how it went.
  const pressed = (await ask(EXECUTE, { input: { jobId: id, waitSeconds: 0 } })).executeJob;
  assert.deepEqual(pressed.userErrors, []);
  assert.equal(pressed.execution.number, 1);
  await followed;
  assert.deepEqual(seen, ['ASSIGNED → IN_EXECUTION, CLIENT', 'IN_EXECUTION → COMPLETED, null']);

  const read = (await ask(READ, { id })).job;
  assert.equal(read.status, 'COMPLETED');
  assert.equal(read.result.ok, true);
  assert.equal(read.latestExecution.id, pressed.execution.id);
  assert.equal(read.latestExecution.outcome, 'ACCEPTED');
  assert.equal(read.latestExecution.validation.verdict, 'PASS');
  assert.deepEqual(read.latestExecution.validation.criteria[0].criterion, { text: 'It is ok.' });
  const types = read.logs.edges.map((edge) => edge.node.type);
  for (const type of ['STATUS_CHANGE', 'AGENT_REQUEST', 'AGENT_RESPONSE', 'VALIDATOR_REQUEST', 'VALIDATOR_RESPONSE']) {
    assert.ok(types.includes(type), `${type} is not in ${types}`);
  }
  assert.equal(read.logs.totalCount, types.length);
  assert.equal(read.logs.pageInfo.hasNextPage, false);
  assert.equal(read.logs.pageInfo.endCursor, read.logs.edges.at(-1).cursor);
  const last = read.logs.edges.at(-1).node;
  assert.equal(last.execution.job.id, id);
  assert.equal(read.latestExecution.logs.nodes.at(-1).id, last.id);

  const again = (await ask(EXECUTE, { input: { jobId: id, waitSeconds: 0 } })).executeJob;
  assert.deepEqual(again.userErrors.map((error) => error.code), ['NOT_EXECUTABLE']);
}

/** The error of a promise that must be rejected. */
export async function rejected(promise) {
  let value;
  try {
    value = await promise;
  } catch (error) {
    return error;
  }
  return assert.fail(`not refused: ${JSON.stringify(value)}`);
}

export const codes = (errors) => errors.map((error) => error.extensions?.code);
