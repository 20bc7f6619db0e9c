import { useQuery } from "@tanstack/react-query";
import { createContext, useContext } from "react";
import { viewerQuery } from "../api/queries";
import type { ViewerQuery } from "../gql/graphql";

export type Viewer = NonNullable<ViewerQuery["viewer"]>;

export const useViewerQuery = () => useQuery(viewerQuery);

export const ViewerContext = createContext<Viewer | null>(null);

/** Who is signed in. Only for what is shown to people who are. */
export function useViewer(): Viewer {
  const viewer = useContext(ViewerContext);
  if (!viewer) throw new Error("Nobody is signed in.");
  return viewer;
}
