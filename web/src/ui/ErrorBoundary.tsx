import { Component, type ReactNode } from "react";
import { Trouble } from "./Trouble";

/** A page that breaks says so, instead of leaving nothing; another page starts anew. */
export class ErrorBoundary extends Component<{ children: ReactNode }, { error: Error | null }> {
  override state = { error: null };

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  override render() {
    const { error } = this.state;
    return error ? <Trouble error={error} onRetry={() => location.reload()} /> : this.props.children;
  }
}
