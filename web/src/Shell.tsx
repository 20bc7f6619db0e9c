import { Button } from "@mantine/core";
import { IconLogout } from "@tabler/icons-react";
import { useQueryClient } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { Link, useLocation } from "wouter";
import icon from "./icon.svg";
import classes from "./Shell.module.css";
import { signOut } from "./session/signIn";
import { useViewer } from "./session/useViewer";
import { OfflineBar } from "./ui/OfflineBar";
import { SchemeToggle } from "./ui/SchemeToggle";
import { Trouble } from "./ui/Trouble";
import { useOneMutation } from "./ui/useOneMutation";

/** What surrounds every page of somebody who is signed in. */
export function Shell({ children }: { children: ReactNode }) {
  const viewer = useViewer();
  const queries = useQueryClient();
  const [, go] = useLocation();
  const leaving = useOneMutation({
    mutationFn: signOut,
    onSuccess: () => {
      go("/login");
      queries.clear();
    },
  });
  return (
    <>
      <a href="#main" className={classes.skip}>
        Skip to the content
      </a>
      <header className={classes.header}>
        <div className={classes.bar}>
          <Link href="/" className={classes.brand}>
            <img src={icon} alt="" width={24} height={24} />
            <span>Signoff</span>
          </Link>
          <nav aria-label="Pages" className={classes.nav}>
            {viewer.role === "ADMIN" ? (
              <>
                <NavLink href="/admin/jobs">Jobs</NavLink>
                <NavLink href="/admin/agents">Agents</NavLink>
              </>
            ) : (
              <NavLink href="/jobs">Jobs</NavLink>
            )}
            <a href="/graphql">API</a>
          </nav>
          <div className={classes.person}>
            <span className={classes.name}>
              {viewer.displayName}
              {viewer.role === "ADMIN" && <span className={classes.role}>Admin</span>}
            </span>
            <SchemeToggle />
            <Button
              size="compact-sm"
              variant="subtle"
              color="gray"
              leftSection={<IconLogout size={16} aria-hidden />}
              onClick={() => leaving.mutate()}
            >
              <span className={classes.leave}>Sign out</span>
            </Button>
          </div>
        </div>
      </header>
      <OfflineBar />
      <main id="main" className={classes.main}>
        {leaving.error && (
          <div className={classes.trouble}>
            <Trouble error={leaving.error} />
          </div>
        )}
        {children}
      </main>
    </>
  );
}

function NavLink({ href, children }: { href: string; children: ReactNode }) {
  const [path] = useLocation();
  return (
    <Link href={href} aria-current={path.startsWith(href) ? "page" : undefined}>
      {children}
    </Link>
  );
}
