// GraphQL Inspector between two SDL files: what would break a client of the first, were it given the second?
//
//   node contract.js PROMISED SERVED

import { readFile } from 'node:fs/promises';
import { CriticalityLevel, diff } from '@graphql-inspector/core';
import { buildSchema } from 'graphql';

const [promised, served] = await Promise.all(process.argv.slice(2, 4).map((path) => readFile(path, 'utf8')));
const changes = await diff(buildSchema(promised), buildSchema(served));
const breaking = changes.filter((change) => change.criticality.level === CriticalityLevel.Breaking);
for (const change of breaking) console.error(`${change.path}: ${change.message}`);
process.exitCode = breaking.length > 0 ? 1 : 0;
