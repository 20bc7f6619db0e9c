// graphql-ws on ws as its documentation has it: each listener's operation is executed for each event.
import { EventEmitter } from "node:events";
import { createServer } from "node:http";
import { GraphQLID, GraphQLObjectType, GraphQLSchema, GraphQLString } from "graphql";
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
      while (waiting.length) yield { appended: waiting.shift() };
      await new Promise((resolve) => (wake = resolve));
    }
  } finally {
    bus.off("event", take);
  }
}

const Entry = new GraphQLObjectType({
  name: "Entry",
  fields: { cursor: { type: GraphQLString }, id: { type: GraphQLID }, message: { type: GraphQLString } },
});
const schema = new GraphQLSchema({
  query: new GraphQLObjectType({ name: "Query", fields: { nothing: { type: GraphQLString } } }),
  subscription: new GraphQLObjectType({
    name: "Subscription",
    fields: { appended: { type: Entry, subscribe: follow } },
  }),
});

const server = createServer((request, response) => {
  const count = Number(new URL(request.url, "http://a").searchParams.get("count"));
  for (let number = 0; number < count; number++) {
    bus.emit("event", { cursor: String(number), id: `log_${number}`, message: "An event" });
  }
  response.end();
});
useServer({ schema }, new WebSocketServer({ server, path: "/graphql" }));
server.listen(Number(process.env.PORT), "127.0.0.1");
