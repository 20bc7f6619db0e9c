import { useQueryClient } from "@tanstack/react-query";
import { accepted, ask } from "../api/ask";
import { CreateAgentDocument, type CreateAgentInput, UpdateAgentDocument, type UpdateAgentInput } from "../gql/graphql";
import { useOneMutation } from "../ui/useOneMutation";

function useRefresh() {
  const queries = useQueryClient();
  return () => queries.invalidateQueries({ queryKey: ["agents"] });
}

export function useCreateAgent() {
  const refresh = useRefresh();
  return useOneMutation({
    mutationFn: async (input: CreateAgentInput) => accepted((await ask(CreateAgentDocument, { input })).createAgent),
    onSettled: refresh,
  });
}

export function useUpdateAgent() {
  const refresh = useRefresh();
  return useOneMutation({
    mutationFn: async (input: UpdateAgentInput) => accepted((await ask(UpdateAgentDocument, { input })).updateAgent),
    onSettled: refresh,
  });
}
