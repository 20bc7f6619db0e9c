// urql: lists text/event-stream in every Accept, yet takes a plain query's answer as JSON; subscriptions are events
// over the same fetch.

import assert from 'node:assert/strict';
import { Client, fetchExchange } from '@urql/core';
import { VIEWER, START, authorization, codes, tell, url } from './story.js';

// Unsubscribing aborts the fetch, and urql leaves the abort that it asked for to nobody: in a browser a line in the
// console, in node the end.
process.on('unhandledRejection', (reason) => {
  if (reason?.name !== 'AbortError') throw reason;
});

const exchanged = [];

function clientOf(headers) {
  return new Client({
    url,
    exchanges: [fetchExchange],
    preferGetMethod: false,
    fetchSubscriptions: true,
    fetchOptions: { headers },
    fetch: async (...request) => {
      const response = await fetch(...request);
      exchanged.push({
        accept: new Headers(request[1].headers).get('accept'),
        type: response.headers.get('content-type'),
        status: response.status,
      });
      return response;
    },
  });
}

const client = clientOf({ authorization });

async function ask(text, variables) {
  const isMutation = text.trimStart().startsWith('mutation');
  const { data, error } = await (isMutation ? client.mutation(text, variables) : client.query(text, variables));
  if (error) throw error;
  const { accept, type, status } = exchanged.at(-1);
  assert.match(accept, /text\/event-stream/);
  assert.equal(status, 200);
  assert.match(type, /^application\/graphql-response\+json/);
  return data;
}

function follow(text, variables, take) {
  return new Promise((resolve, reject) => {
    const { unsubscribe } = client.subscription(text, variables).subscribe(({ data, error }) => {
      try {
        if (error) throw error;
        if (!take(data)) return;
        unsubscribe();
        resolve();
      } catch (failure) {
        reject(failure);
      }
    });
  });
}

await tell(ask, follow);
assert.ok(exchanged.some(({ type }) => type.startsWith('text/event-stream')), 'nothing was followed');

const nobody = clientOf({});
assert.equal((await nobody.query(VIEWER, {})).data.viewer, null);
const refusal = await nobody.query(START, { id: 'job_x' });
assert.ok(codes(refusal.error.graphQLErrors).includes('UNAUTHENTICATED'), refusal.error);

const stranger = clientOf({ authorization: 'Bearer broken' });
const unknown = await stranger.query(VIEWER, {});
assert.equal(unknown.error.response.status, 401);
assert.deepEqual(codes(unknown.error.graphQLErrors), ['UNAUTHENTICATED']);
