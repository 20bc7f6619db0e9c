import { expect, it } from "vitest";
import { patient } from "./patient";

class Socket extends EventTarget {
  static readonly CONNECTING = 0;
  readyState = 0;
  closed: unknown[] = [];

  close(...how: unknown[]) {
    this.closed.push([this.readyState, ...how]);
    this.readyState = 2;
  }
  open() {
    this.readyState = 1;
    this.dispatchEvent(new Event("open"));
  }
}

const start = () => new (patient(Socket as unknown as typeof WebSocket))("ws://here") as unknown as Socket;

it("closes a socket once it is open", () => {
  const socket = start();
  socket.close(4499, "Terminated");
  expect(socket.closed).toEqual([]);
  socket.open();
  expect(socket.closed).toEqual([[1, 4499, "Terminated"]]);
});

it("closes an open socket at once", () => {
  const socket = start();
  socket.open();
  socket.close(1000, "Normal Closure");
  expect(socket.closed).toEqual([[1, 1000, "Normal Closure"]]);
});
