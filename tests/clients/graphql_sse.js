// graphql-sse in its "distinct connections" mode: each operation, queries too, is a stream of events of its own.

import assert from 'node:assert/strict';
import { createClient } from 'graphql-sse';
import { START, VIEWER, authorization, codes, rejected, tell, url } from './story.js';

const clientOf = (headers) => createClient({ url, headers, retryAttempts: 0 });
const client = clientOf({ authorization });

const resultOf = async (from, query, variables) => (await from.iterate({ query, variables }).next()).value;

async function ask(query, variables) {
  const { data, errors } = await resultOf(client, query, variables);
  if (errors) throw new AggregateError(errors);
  return data;
}

async function follow(query, variables, take) {
  for await (const { data, errors } of client.iterate({ query, variables })) {
    if (errors) throw new AggregateError(errors);
    if (take(data)) return;
  }
  throw new Error('the subscription ended by itself');
}

await tell(ask, follow);

const nobody = clientOf({});
assert.equal((await resultOf(nobody, VIEWER)).data.viewer, null);
assert.ok(codes((await resultOf(nobody, START, { id: 'job_x' })).errors).includes('UNAUTHENTICATED'));

const stranger = clientOf({ authorization: 'Bearer broken' });
assert.equal((await rejected(resultOf(stranger, VIEWER))).response.status, 401);

for (const each of [client, nobody, stranger]) each.dispose();
