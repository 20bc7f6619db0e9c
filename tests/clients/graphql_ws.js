// graphql-ws: queries, mutations and subscriptions over one WebSocket.

import assert from 'node:assert/strict';
import { createClient } from 'graphql-ws';
import { FOLLOW, START, VIEWER, authorization, codes, rejected, socketUrl, tell } from './story.js';

const clientOf = (connectionParams) => createClient({ url: socketUrl, connectionParams, retryAttempts: 0 });
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
    if (take(data)) return; // which completes the subscription, not the socket
  }
  throw new Error('the subscription ended by itself');
}

await tell(ask, follow);

// The key's case is the client's choice.
const shouting = clientOf({ Authorization: authorization });
assert.equal((await resultOf(shouting, VIEWER)).data.viewer.role, 'CLIENT');

const nobody = clientOf({});
assert.equal((await resultOf(nobody, VIEWER)).data.viewer, null);
assert.ok(codes((await resultOf(nobody, START, { id: 'job_x' })).errors).includes('UNAUTHENTICATED'));
// A subscription that does not begin is an `error` message, which rejects.
assert.deepEqual(codes(await rejected(resultOf(nobody, FOLLOW, { id: 'job_x' }))), ['UNAUTHENTICATED']);

// A document that is not valid is an error of that operation; the socket carries the next.
const invalid = await rejected(resultOf(client, '{ nothing }'));
assert.match(invalid[0].message, /nothing/);
assert.equal((await resultOf(client, VIEWER)).data.viewer.role, 'CLIENT');

const stranger = clientOf({ authorization: 'Bearer broken' });
assert.equal((await rejected(resultOf(stranger, VIEWER))).code, 4403);

for (const each of [client, shouting, nobody, stranger]) await each.dispose();
