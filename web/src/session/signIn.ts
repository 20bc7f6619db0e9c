import { UnreachableError } from "../api/ask";
import { hangUp } from "../live/socket";
import { signedOut } from "../queries";

/** The tabs of one browser have one session: who signs out in one of them has done so in all. */
const tabs = new BroadcastChannel("signed-out");
tabs.onmessage = () => {
  hangUp();
  signedOut();
};

export interface DemoPerson {
  id: string;
  name: string;
  role: string;
}

/** The demo's people; nobody elsewhere. */
export async function demoPeople(): Promise<DemoPerson[]> {
  const response = await fetch("/login/people");
  if (!response.ok) return [];
  return ((await response.json()) as { people: DemoPerson[] }).people;
}

export type Credential = { token: string } | { person: string };

/** Exchange a credential for the session cookie. Throws with the service's words where it is not believed. */
export async function signIn(credential: Credential): Promise<void> {
  const response = await post("/login", credential);
  // The service knows a socket by who opened it.
  if (response.ok) return hangUp();
  const answer = (await response.json().catch(() => null)) as { errors?: { message: string }[] } | null;
  throw new SignInError(answer?.errors?.[0]?.message ?? "Signing in did not work.");
}

/** End the session, in all tabs. Throws where the service may not have heard of it. */
export async function signOut(): Promise<void> {
  const response = await post("/logout", {}).catch(() => null);
  if (!response?.ok) throw new UnreachableError("You may still be signed in: Signoff could not be reached.");
  hangUp();
  tabs.postMessage(null);
}

class SignInError extends Error {}

async function post(path: string, body: object): Promise<Response> {
  const headers = { "content-type": "application/json" };
  try {
    return await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  } catch (error) {
    throw new UnreachableError("Signoff could not be reached.", { cause: error });
  }
}
