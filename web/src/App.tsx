import { useEffect, useState } from "react";
import { ViewerDocument } from "./gql/graphql";


export function App() {
  const [name, setName] = useState<string>();
  useEffect(() => {
    void fetch("/graphql", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ query: ViewerDocument.toString() }),
    })
      .then((response) => response.json())
      .then((answer: { data?: { viewer?: { displayName: string } } }) => setName(answer.data?.viewer?.displayName));
  }, []);
  return <h1>Signoff {name}</h1>;
}
