// Apollo Client: queries and mutations through its HttpLink, subscriptions through its graphql-ws link, results through
// its normalising cache.

import assert from 'node:assert/strict';
import { ApolloClient, ApolloLink, CombinedGraphQLErrors, HttpLink, InMemoryCache, gql } from '@apollo/client';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { OperationTypeNode } from 'graphql';
import { createClient } from 'graphql-ws';
import { VIEWER, START, authorization, codes, rejected, socketUrl, tell, url } from './story.js';

function clientOf(headers) {
  const sockets = createClient({ url: socketUrl, connectionParams: headers });
  const link = ApolloLink.split(
    ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
    new GraphQLWsLink(sockets),
    new HttpLink({ uri: url, headers }),
  );
  const client = new ApolloClient({ link, cache: new InMemoryCache() });
  return Object.assign(client, { sockets });
}

// The cache puts __typename everywhere; the story speaks of what it asked for.
function plain(data) {
  return JSON.parse(JSON.stringify(data, (key, value) => (key === '__typename' ? undefined : value)));
}

const client = clientOf({ authorization });

async function ask(text, variables) {
  const document = gql(text);
  const isMutation = document.definitions[0].operation === 'mutation';
  const { data } = isMutation
    ? await client.mutate({ mutation: document, variables })
    : await client.query({ query: document, variables, fetchPolicy: 'network-only' });
  return plain(data);
}

function follow(text, variables, take) {
  return new Promise((resolve, reject) => {
    const subscription = client.subscribe({ query: gql(text), variables }).subscribe({
      next({ data, error }) {
        try {
          if (error) throw error;
          if (!take(plain(data))) return;
          subscription.unsubscribe();
          resolve();
        } catch (failure) {
          reject(failure);
        }
      },
      error: reject,
      complete: () => reject(new Error('the subscription ended by itself')),
    });
  });
}

await tell(ask, follow);

const nobody = clientOf({});
assert.equal(plain(await nobody.query({ query: gql(VIEWER) })).data.viewer, null);
const refusal = await rejected(nobody.query({ query: gql(START), variables: { id: 'job_x' } }));
assert.ok(CombinedGraphQLErrors.is(refusal), refusal);
assert.ok(codes(refusal.errors).includes('UNAUTHENTICATED'), refusal);

// A broken token is 401, whose errors Apollo reads, for the body is application/graphql-response+json.
const stranger = clientOf({ authorization: 'Bearer broken' });
const unknown = await rejected(stranger.query({ query: gql(VIEWER) }));
assert.ok(CombinedGraphQLErrors.is(unknown), unknown);
assert.deepEqual(codes(unknown.errors), ['UNAUTHENTICATED']);

for (const each of [client, nobody, stranger]) {
  each.stop();
  await each.sockets.dispose();
}
