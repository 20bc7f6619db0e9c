// Unpacks the Chromium that comes from npm, with the libraries and fonts that a bare machine lacks, into the folder
// `chromium` beside this file.

import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { createBrotliDecompress } from "node:zlib";
import { extract } from "tar-fs";

const here = (path) => new URL(path, import.meta.url).pathname;
const packed = (name) => createReadStream(here(`node_modules/@sparticuz/chromium/bin/${name}.br`));
const folder = here("chromium");

await mkdir(folder, { recursive: true });
await Promise.all([
  pipeline(packed("chromium"), createBrotliDecompress(), createWriteStream(`${folder}/chromium`, { mode: 0o755 })),
  // NSS and expat, which a desktop has anyway.
  pipeline(packed("al2023.tar"), createBrotliDecompress(), extract(folder)),
  pipeline(packed("fonts.tar"), createBrotliDecompress(), extract(folder)),
]);
await writeFile(
  `${folder}/fonts.conf`,
  `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>/usr/share/fonts</dir>
  <dir>${folder}/fonts</dir>
  <cachedir>${folder}/fonts-cache</cachedir>
</fontconfig>
`,
);
