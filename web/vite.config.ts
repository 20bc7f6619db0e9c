import type { IncomingMessage } from "node:http";
import { fileURLToPath } from "node:url";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));

// `npm run dev` serves the pages and hands everything else to a Signoff that runs beside it.
const service = process.env.SIGNOFF_URL ?? "http://127.0.0.1:8000";
const isPage = (request: IncomingMessage) => request.method === "GET" && request.url === "/login";

export default defineConfig({
  plugins: [react()],
  build: {
    target: "es2023",
    // A small file inside another one is a data: address, which the content security policy refuses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // GraphiQL's editor is as large as it is; nobody else loads it.
    chunkSizeWarningLimit: 4096,
    rolldownOptions: {
      input: ["index.html", "graphiql.html"].map(here),
      // Directives for a compiler that GraphiQL's own build has run already.
      checks: { moduleLevelDirective: false },
    },
  },
  server: {
    proxy: {
      "/graphql": { target: service, ws: true },
      "/login": { target: service, bypass: (request) => (isPage(request) ? "/index.html" : undefined) },
      "/logout": service,
    },
  },
  // Nothing here keeps anything between files: one worker does for all of them.
  test: { environment: "node", isolate: false, include: ["src/**/*.test.ts"] },
});
