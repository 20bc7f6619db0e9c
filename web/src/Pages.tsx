import { lazy, Suspense } from "react";
import { Redirect, Route, Switch, useLocation } from "wouter";
import { ask } from "./api/ask";
import { ViewerDocument } from "./gql/graphql";
import { JobPage } from "./job/JobPage";
import { JobsPage } from "./jobs/JobsPage";
import classes from "./Pages.module.css";
import { Shell } from "./Shell";
import { LoginPage } from "./session/LoginPage";
import { useViewerQuery, ViewerContext } from "./session/useViewer";
import { ErrorBoundary } from "./ui/ErrorBoundary";
import { NotFoundPage } from "./ui/NotFoundPage";
import { Trouble } from "./ui/Trouble";

const AdminJobsPage = lazy(() => loaded(import("./admin/AdminJobsPage")));
const AgentsPage = lazy(() => loaded(import("./admin/AgentsPage")));

/** A part of the pages that is loaded when it is needed. Throws UnreachableError where the service is away. */
const loaded = <Part,>(part: Promise<Part>): Promise<Part> =>
  part.catch(async (error) => {
    await ask(ViewerDocument, {});
    throw error;
  });

export function Pages() {
  return (
    <Switch>
      <Route path="/login" component={LoginPage} />
      <Route component={SignedInPages} />
    </Switch>
  );
}

function SignedInPages() {
  const [path] = useLocation();
  const { data: viewer, error, isPending, refetch } = useViewerQuery();
  if (error) {
    return (
      <main className={classes.alone}>
        <Trouble error={error} onRetry={() => void refetch()} />
      </main>
    );
  }
  if (isPending) return null;
  if (!viewer) return <Redirect to={`/login?next=${encodeURIComponent(path + location.search)}`} replace />;
  const admin = viewer.role === "ADMIN";
  return (
    <ViewerContext value={viewer}>
      <Shell>
        <ErrorBoundary key={path}>
          <Suspense>
            <Switch>
              <Route path="/">
                <Redirect to={admin ? "/admin/jobs" : "/jobs"} replace />
              </Route>
              <Route path="/jobs" component={JobsPage} />
              <Route path="/jobs/:id">{({ id }) => <JobPage key={id} id={id} />}</Route>
              {admin && <Route path="/admin/jobs" component={AdminJobsPage} />}
              {admin && <Route path="/admin/jobs/:id">{({ id }) => <JobPage key={id} id={id} overrides />}</Route>}
              {admin && <Route path="/admin/agents" component={AgentsPage} />}
              <Route component={NotFoundPage} />
            </Switch>
          </Suspense>
        </ErrorBoundary>
      </Shell>
    </ViewerContext>
  );
}
