import "graphiql/setup-workers/vite";
import "graphiql/style.css";
import "./page.css";
import { createGraphiQLFetcher } from "@graphiql/toolkit";
import { GraphiQL } from "graphiql";
import { createClient } from "graphql-ws";
import { createRoot } from "react-dom/client";
import { firstQuery } from "./firstQuery";

// Both are this very address, and the browser sends the session's cookie along with each.
const url = `${location.origin}/graphql`;
const fetcher = createGraphiQLFetcher({
  url,
  wsClient: createClient({ url: url.replace(/^http/, "ws") }),
});

const query = new URLSearchParams(location.search).get("query");
const root = document.getElementById("graphiql");
if (root) {
  createRoot(root).render(
    <GraphiQL fetcher={fetcher} defaultQuery={firstQuery} {...(query === null ? {} : { initialQuery: query })}>
      <GraphiQL.Logo>
        <h1 className="name">
          <a href="/jobs">Signoff</a>
        </h1>
      </GraphiQL.Logo>
    </GraphiQL>,
  );
}
