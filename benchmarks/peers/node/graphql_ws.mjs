// graphql-ws on ws as its documentation has it: each listener's operation is executed for each event.
import { EventEmitter } from "node:events";
import { createServer } from "node:http";
import { GraphQLID, GraphQLNonNull, GraphQLObjectType, GraphQLSchema, GraphQLString } from "graphql";
import { useServer } from "graphql-ws/use/ws";
import { WebSocketServer } from "ws";

const bus = new EventEmitter();
bus.setMaxListeners(0);

async function* follow() {
  const waiting = [];
  let wake = null;
  const take = (event) => {
    waiting.push(event);
    wake?.();
  };
  bus.on("event", take);
  try {
    for (;;) {
      while (waiting.length) yield { jobLogAppended: waiting.shift() };
      await new Promise((resolve) => (wake = resolve));
    }
  } finally {
    bus.off("event", take);
  }
}

const required = (type) => ({ type: new GraphQLNonNull(type) });
const Log = new GraphQLObjectType({
  name: "JobLog",
  fields: { id: required(GraphQLID), message: required(GraphQLString) },
});
const Appended = new GraphQLObjectType({
  name: "JobLogAppended",
  fields: { cursor: required(GraphQLString), log: required(Log) },
});
const schema = new GraphQLSchema({
  query: new GraphQLObjectType({ name: "Query", fields: { nothing: { type: GraphQLString } } }),
  subscription: new GraphQLObjectType({
    name: "Subscription",
    fields: { jobLogAppended: { ...required(Appended), args: { jobId: required(GraphQLID) }, subscribe: follow } },
  }),
});

const server = createServer(async (request, response) => {
  response.end();
  const asked = new URL(request.url, "http://a").searchParams;
  const first = Number(asked.get("first"));
  for (let number = first; number < first + Number(asked.get("count")); number++) {
    const cursor = Buffer.from(`["l",${number}]`).toString("base64url");
    bus.emit("event", { cursor, log: { id: `log_bench${number}`, message: "An event" } });
    // Events come from somewhere: what listeners send, their pongs above all, is read in between.
    await new Promise(setImmediate);
  }
});
useServer({ schema }, new WebSocketServer({ server, path: "/graphql" }));
server.listen(Number(process.env.PORT), "127.0.0.1");
