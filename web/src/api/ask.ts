import type { RefusalFragment, TypedDocumentString } from "../gql/graphql";
import { readAnswer } from "./answer";
import { compactJson } from "./json";

/** The service answered, but not with data: `code` says why in its own words. */
export class RequestError extends Error {
  constructor(
    message: string,
    readonly code: string,
  ) {
    super(message);
  }
}

/** No answer was had: whether the request arrived is not known. */
export class UnreachableError extends Error {}

/** The service said no, and why: something that a person can act on. */
export class RefusedError extends Error {
  constructor(readonly refusals: readonly RefusalFragment[]) {
    super(refusals.map((refusal) => refusal.message).join(" "));
  }
}

interface Answer<Result> {
  data?: Result | null;
  errors?: { message: string; extensions?: { code?: string } }[];
}

const UNREACHABLE = "Signoff could not be reached.";

/** Run a query or a mutation. Throws RequestError and UnreachableError. */
export async function ask<Result, Variables>(
  document: TypedDocumentString<Result, Variables>,
  variables: Variables,
  signal?: AbortSignal,
): Promise<Result> {
  const answer = await post<Result>(compactJson({ query: document.toString(), variables }), signal);
  const error = answer.errors?.[0];
  if (error) throw new RequestError(error.message, error.extensions?.code ?? "UNKNOWN");
  if (!answer.data) throw new RequestError("The answer held nothing.", "UNKNOWN");
  return answer.data;
}

async function post<Result>(body: string, signal: AbortSignal | undefined): Promise<Answer<Result>> {
  const headers = { "content-type": "application/json", accept: "application/graphql-response+json, application/json" };
  try {
    const response = await fetch("/graphql", { method: "POST", headers, body, signal: signal ?? null });
    return readAnswer(await response.text()) as Answer<Result>;
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new UnreachableError(UNREACHABLE, { cause: error });
  }
}

/** Give a mutation's payload back, or throw its refusals. */
export function accepted<Payload extends { userErrors: readonly RefusalFragment[] }>(payload: Payload): Payload {
  if (payload.userErrors.length > 0) throw new RefusedError(payload.userErrors);
  return payload;
}

/** Somebody else changed the job since it was looked at. */
export function isStale(error: unknown): boolean {
  return error instanceof RefusedError && error.refusals.some(({ code }) => code === "STALE_REVISION");
}

export function isSignedOut(error: unknown): boolean {
  return error instanceof RequestError && error.code === "UNAUTHENTICATED";
}
