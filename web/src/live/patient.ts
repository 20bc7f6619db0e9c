/**
 * A WebSocket that may be closed before it is open: it closes once it is. The browser's own fails then, and complains
 * in the console, as if something had gone wrong.
 */
export const patient = (Socket: typeof WebSocket): typeof WebSocket =>
  class extends Socket {
    override close(code?: number, reason?: string) {
      if (this.readyState !== Socket.CONNECTING) super.close(code, reason);
      else this.addEventListener("open", () => super.close(code, reason));
    }
  };
