import { Component, type ReactNode } from "react";
import { UnreachableError } from "../api/ask";
import { AWAY_MILLISECONDS, isThere, waitingFor } from "../api/comeback";
import { Trouble } from "./Trouble";

/** A page that breaks says so, instead of leaving nothing; another page starts anew. */
export class ErrorBoundary extends Component<{ children: ReactNode }, { error: Error | null }> {
  override state = { error: null };
  private shown = false;

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  /** What could not be loaded is not loaded again by the same page: browsers remember that it failed. */
  override componentDidCatch(error: Error) {
    const reload = () => this.shown && location.reload();
    if (error instanceof UnreachableError) waitingFor(isThere, reload, AWAY_MILLISECONDS)();
  }

  override componentDidMount() {
    this.shown = true;
  }

  override componentWillUnmount() {
    this.shown = false;
  }

  override render() {
    const { error } = this.state;
    return error ? <Trouble error={error} onRetry={() => location.reload()} /> : this.props.children;
  }
}
