// The GraphQL over HTTP specification's own audits, as graphql-http ships them: every one, the optional ones too.

import assert from 'node:assert/strict';
import { serverAudits } from 'graphql-http';
import { authorization, url } from './story.js';

const EXPECTED_AUDITS = 61;

const types = new Set();
const fetchFn = async (address, init) => {
  const headers = new Headers(init?.headers);
  headers.set('authorization', authorization);
  const response = await fetch(address, { ...init, headers });
  types.add(response.headers.get('content-type')?.split(';')[0]);
  return response;
};

const audits = serverAudits({ url, fetchFn });
const failed = [];
for (const audit of audits) {
  const result = await audit.fn();
  if (result.status !== 'ok') failed.push(`${audit.id} ${audit.name}: ${result.status}, ${result.reason}`);
}

assert.equal(audits.length, EXPECTED_AUDITS);
assert.deepEqual(failed, []);
assert.ok(types.has('application/graphql-response+json'), [...types].join());
