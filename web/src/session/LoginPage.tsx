import { Button, PasswordInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useLocation, useSearchParams } from "wouter";
import icon from "../icon.svg";
import { usePage } from "../ui/usePage";
import classes from "./LoginPage.module.css";
import { type Credential, demoPeople, signIn } from "./signIn";

export function LoginPage() {
  const heading = usePage("Sign in");
  const [token, setToken] = useState("");
  const people = useQuery({ queryKey: ["people"], queryFn: demoPeople, staleTime: Number.POSITIVE_INFINITY });
  const enter = useEnter();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    enter.mutate({ token: token.trim() });
  };
  return (
    <main className={classes.page}>
      <div className={classes.box}>
        <img src={icon} alt="" width={44} height={44} />
        <h1 ref={heading} tabIndex={-1}>
          Sign in to Signoff
        </h1>
        {people.data && people.data.length > 0 && (
          <section aria-labelledby="people" className={classes.people}>
            <h2 id="people">This is the demo: be one of its people</h2>
            {people.data.map(({ id, name, role }) => (
              <Button key={id} variant="default" size="md" fullWidth onClick={() => enter.mutate({ person: id })}>
                {name}, {role === "ADMIN" ? "an admin" : "a client"}
              </Button>
            ))}
          </section>
        )}
        <form onSubmit={submit} className={classes.form}>
          <PasswordInput
            label="Access token"
            description="An administrator gives you one: signoff token"
            value={token}
            onChange={(event) => setToken(event.currentTarget.value)}
            autoComplete="off"
            spellCheck={false}
            required
            withAsterisk={false}
            error={enter.error?.message}
          />
          <Button type="submit" loading={enter.isPending}>
            Sign in
          </Button>
        </form>
      </div>
    </main>
  );
}

function useEnter() {
  const queries = useQueryClient();
  const [, go] = useLocation();
  const [search] = useSearchParams();
  return useMutation({
    mutationFn: (credential: Credential) => signIn(credential),
    onSuccess: () => {
      queries.clear();
      go(localPath(search.get("next")), { replace: true });
    },
  });
}

/** Only a path of our own: a link to the login must not lead elsewhere. */
function localPath(next: string | null): string {
  return next !== null && /^\/(?![/\\])/.test(next) ? next : "/";
}
