import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { advance, type Connection, type Feed, follow, POLL_MILLISECONDS, type Sink, waitBefore } from "./follow";

interface Item {
  cursor: string;
}

/** A service whose socket the test opens and cuts. */
class Service implements Feed<Item> {
  log: Item[] = [];
  sink: Sink<Item> | undefined;
  subscribedAfter: (string | null)[] = [];
  comeBack = () => {};
  polls = 0;

  subscribe(after: string | null, sink: Sink<Item>) {
    this.subscribedAfter.push(after);
    this.sink = sink;
    return () => {
      if (this.sink === sink) this.sink = undefined;
    };
  }
  async poll(after: string | null) {
    this.polls += 1;
    return this.log.filter(({ cursor }) => after === null || cursor > after);
  }
  onReturn(callback: () => void) {
    this.comeBack = callback;
    return () => {};
  }
  commit(cursor: string) {
    this.log.push({ cursor });
    this.sink?.next({ cursor });
  }
  cut(resumeFrom?: string) {
    const { sink } = this;
    this.sink = undefined;
    sink?.lost(resumeFrom);
  }
}

const followed = (service: Service, after: string | null = "0") => {
  const seen: string[] = [];
  const moves: Connection[] = [];
  const stop = follow(service, after, {
    received: (items) => seen.push(...items.map(({ cursor }) => cursor)),
    moved: (connection) => moves.push(connection),
  });
  return { seen, moves, stop };
};

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe("the position", () => {
  const start = { connection: "connecting", cursor: "5", failures: 0 } as const;

  test("goes on with each event, and with a slow reader from where it is told to", () => {
    const after = advance(start, { kind: "received", cursor: "6" });
    expect(after.cursor).toBe("6");
    expect(advance(after, { kind: "lost" })).toEqual({ connection: "polling", cursor: "6", failures: 1 });
    expect(advance(after, { kind: "lost", resumeFrom: "4" }).cursor).toBe("4");
  });

  test("an open connection forgets the failures", () => {
    expect(advance({ ...start, failures: 4 }, { kind: "opened" })).toEqual({
      ...start,
      connection: "live",
      failures: 0,
    });
  });

  test("waits grow, up to half a minute", () => {
    expect([1, 2, 3, 99].map(waitBefore)).toEqual([250, 1_000, 2_000, 30_000]);
  });
});

describe("following", () => {
  test("a new connection goes on after the last event", async () => {
    const service = new Service();
    const { seen, moves } = followed(service);
    service.sink?.opened();
    service.commit("1");
    service.cut();
    await vi.advanceTimersByTimeAsync(waitBefore(1));
    service.sink?.opened();
    service.commit("2");
    expect(service.subscribedAfter).toEqual(["0", "1"]);
    expect(seen).toEqual(["1", "2"]);
    expect(moves).toEqual(["live", "polling", "live"]);
  });

  test("without a connection it asks again and again, and each event comes once", async () => {
    const service = new Service();
    const { seen, moves } = followed(service);
    service.cut();
    service.log.push({ cursor: "1" });
    await vi.advanceTimersByTimeAsync(POLL_MILLISECONDS);
    service.log.push({ cursor: "2" });
    service.cut();
    await vi.advanceTimersByTimeAsync(2 * POLL_MILLISECONDS);
    expect(seen).toEqual(["1", "2"]);
    expect(moves).toEqual(["polling"]);
  });

  test("polling ends once the connection is back", async () => {
    const service = new Service();
    const { moves } = followed(service);
    service.cut();
    await vi.advanceTimersByTimeAsync(waitBefore(1));
    service.sink?.opened();
    await vi.advanceTimersByTimeAsync(10 * POLL_MILLISECONDS);
    expect(service.polls).toBe(0);
    expect(moves).toEqual(["polling", "live"]);
  });

  test("a reader that comes back does not wait for its turn", async () => {
    const service = new Service();
    followed(service);
    for (const failures of [1, 2, 3, 4, 5]) {
      service.cut();
      if (failures < 5) await vi.advanceTimersByTimeAsync(waitBefore(failures));
    }
    const before = service.subscribedAfter.length;
    service.comeBack();
    expect(service.subscribedAfter.length).toBe(before + 1);
  });

  test("nothing comes after the end", async () => {
    const service = new Service();
    const { seen, stop } = followed(service);
    service.cut();
    service.log.push({ cursor: "1" });
    stop();
    await vi.advanceTimersByTimeAsync(10 * POLL_MILLISECONDS);
    expect(seen).toEqual([]);
    expect(service.subscribedAfter).toEqual(["0"]);
  });
});
