// The connection: numbered requests over one WebSocket, replies as JSON or as binary frames of named arrays.
import type { Fields, NdArray } from "./protocol";

export type Reply<T> = T & { arrays: Record<string, NdArray> };
export type Connection = "connecting" | "open" | "stopped";

/** The server's own sentence about a request that it refuses. */
export class Refused extends Error {}
/** A request whose answer nobody waits for any more. */
export class Dropped extends Error {}

interface Waiting {
  resolve: (reply: Reply<never>) => void;
  reject: (error: Error) => void;
}

function arrayOf(dtype: string, buffer: ArrayBuffer, start: number, count: number): NdArray["data"] {
  if (dtype === "float32") return new Float32Array(buffer, start, count);
  if (dtype === "int32") return new Int32Array(buffer, start, count);
  if (dtype === "uint8") return new Uint8Array(buffer, start, count);
  throw new Error(`expected an array of float32, int32 or uint8, got ${dtype}`);
}

/** uint32 length, a JSON header, then the arrays, each padded to 8 bytes. */
export function unpack(buffer: ArrayBuffer): Fields & { arrays: Record<string, NdArray> } {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const arrays: Record<string, NdArray> = Object.create(null);
  let start = 4 + length;
  for (const { name, dtype, shape } of header.arrays ?? []) {
    const count = shape.reduce((product: number, size: number) => product * size, 1);
    const data = arrayOf(dtype, buffer, start, count);
    arrays[name] = { shape, data };
    start += Math.ceil(data.byteLength / 8) * 8;
  }
  return { ...header, arrays };
}

export class Wire {
  #socket: WebSocket | null = null;
  #next = 1;
  #waiting = new Map<number, Waiting>();
  #patience = 500;

  constructor(private readonly changed: (state: Connection) => void) {}

  /** The token stays in the URL's query; the address is relative, so that a proxy with a path works too. */
  open(): void {
    const address = new URL("ws", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    address.hash = "";
    address.search = location.search;
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#socket = socket;
      this.#patience = 500;
      this.changed("open");
    };
    socket.onmessage = (event) => this.#take(event.data);
    socket.onclose = () => this.#closed();
  }

  ask<T>(op: string, fields: Fields = {}): Promise<Reply<T>> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      if (this.#socket?.readyState !== WebSocket.OPEN) {
        reject(new Dropped("the explorer has stopped"));
        return;
      }
      this.#waiting.set(id, { resolve: resolve as Waiting["resolve"], reject });
      this.#socket.send(JSON.stringify({ id, op, ...fields }));
    });
  }

  #take(data: string | ArrayBuffer): void {
    const reply = typeof data === "string" ? { ...JSON.parse(data), arrays: {} } : unpack(data);
    const waiting = this.#waiting.get(reply.id);
    if (!waiting) return;
    this.#waiting.delete(reply.id);
    if (reply.error) waiting.reject(new Refused(String(reply.error.message ?? "the explorer refused this")));
    else if (reply.dropped) waiting.reject(new Dropped("a later request took its place"));
    else waiting.resolve(reply as Reply<never>);
  }

  #closed(): void {
    this.#socket = null;
    for (const waiting of this.#waiting.values()) waiting.reject(new Dropped("the explorer has stopped"));
    this.#waiting.clear();
    this.changed("stopped");
    setTimeout(() => this.open(), this.#patience);
    this.#patience = Math.min(2 * this.#patience, 8000);
  }
}

/** One request in flight and the latest value: what came in between is never sent. */
export class Latest<T> {
  #busy = false;
  #next: Fields | null = null;

  constructor(
    private readonly wire: Wire,
    private readonly op: string,
    private readonly show: (reply: Reply<T>, fields: Fields) => void,
    private readonly fail: (message: string) => void,
  ) {}

  ask(fields: Fields): void {
    this.#next = fields;
    if (!this.#busy) void this.#run();
  }

  async #run(): Promise<void> {
    this.#busy = true;
    while (this.#next) {
      const fields = this.#next;
      this.#next = null;
      try {
        const reply = await this.wire.ask<T>(this.op, fields);
        this.show(reply, fields);
      } catch (error) {
        if (!(error instanceof Dropped)) this.fail(messageOf(error));
      }
    }
    this.#busy = false;
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
