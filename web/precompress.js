// Leaves a brotli and a gzip file beside each one of the build, so that the server never compresses anything itself.

import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";

const folder = "dist";
// A server that waits for the build takes this page's smaller file as the sign that everything is there.
const last = "index.html";
const text = /\.(css|html|js|json|svg|ttf|txt)$/;
// Less, and the headers weigh more than what is saved.
const worthBytes = 512;
// Brotli's best takes a second for a megabyte: worth it for what everybody loads, not for GraphiQL's editor.
const bestBytes = 512 * 1024;

const kinds = {
  br: (bytes) =>
    promisify(brotliCompress)(bytes, {
      params: {
        [constants.BROTLI_PARAM_QUALITY]: bytes.length > bestBytes ? 9 : 11,
        [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
      },
    }),
  gz: (bytes) => promisify(gzip)(bytes, { level: 9 }),
};

async function compress(file) {
  const bytes = await readFile(file);
  if (bytes.length < worthBytes) return;
  for (const [suffix, made] of Object.entries(kinds)) {
    const smaller = await made(bytes);
    if (smaller.length < bytes.length) await writeFile(`${file}.${suffix}`, smaller);
  }
}

const names = (await readdir(folder, { recursive: true })).filter((name) => text.test(name) && name !== last);
await Promise.all(names.map((name) => compress(join(folder, name))));
await compress(join(folder, last));
