/** Notices connections that have died in silence, and for how long an API server has not answered. */
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { errors } from 'undici';
import { messageOf } from '../errors.ts';
import type { Log } from '../ports/ambient.ts';

/** How a request ended, as far as the server is concerned. `abandoned`: the caller left before there was a reply. */
export type Reply = 'answered' | 'failed' | 'abandoned';

/** What `Liveness` needs. */
export interface LivenessOptions {
  readonly connection: string;
  readonly log: Log | undefined;
  /** An HTTP/2 connection that received nothing for this long is probed, in milliseconds. Longer than the interval of its PING frames. */
  readonly silentMs: number;
  /** Sends a request over a new connection; resolves when it is answered, whatever the status. */
  readonly probe: () => Promise<void>;
}

/** Looks at connections in one period of silence. Looks are counted, not time: after a pause of this process, one look is no silence. */
const LOOKS = 10;
/** Silence of a server that is logged. */
const LONG_MS = 10_000;

interface Connection {
  bytesRead: number;
  /** Looks in a row that found no new bytes. */
  silent: number;
}

/**
 * Watches the connections to one API server.
 *
 * A flow that a load balancer or a firewall has forgotten stays open and silent. Over HTTP/2 all requests share it, and a time-out ends only
 * its own request. So each HTTP/2 connection is sent PING frames, which a server answers however slow its replies are (a webhook may take
 * 30 s). A connection without any byte for `silentMs` is dead if at the same time a new one is answered; then it is closed, its requests fail
 * at once, and the next ones use a new connection. When the new one is not answered either, the server is away, and all stay open.
 *
 * client-go does the same with its ReadIdleTimeout and PingTimeout. Over HTTP/1.1, which has no PING, a request on a dead connection fails by
 * its deadline, and its connection with it.
 */
export class Liveness {
  readonly #options: LivenessOptions;
  readonly #connections = new Map<Socket, Connection>();
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;
  #isProbing = false;
  #looksSinceProbe = 0;
  /** Requests without a reply. */
  #pending = 0;
  #hasFailed = false;
  /** Monotonic clock: when the first request was sent that the server has neither answered, nor any after it. */
  #unansweredSince: number | undefined;
  #isReported = false;

  constructor(options: LivenessOptions) {
    this.#options = options;
  }

  /** For how long the server has not answered, in milliseconds; 0: it answered last, or was not asked. */
  get unansweredMs(): number {
    return this.#unansweredSince === undefined ? 0 : performance.now() - this.#unansweredSince;
  }

  /** Watches a new connection until it is closed. */
  readonly connected = (socket: Socket): void => {
    if (!(socket instanceof TLSSocket) || socket.alpnProtocol !== 'h2') return;
    this.#connections.set(socket, { bytesRead: socket.bytesRead, silent: 0 });
    socket.once('close', () => this.#connections.delete(socket));
    this.#watch();
  };

  /** A request is sent. Call the result once, when there is a reply or none will come. */
  asked(): (reply: Reply) => void {
    this.#pending += 1;
    this.#unansweredSince ??= performance.now();
    this.#watch();
    return (reply) => {
      this.#pending -= 1;
      if (reply === 'answered') this.#answered();
      else if (reply === 'failed') this.#hasFailed = true;
      else if (this.#pending === 0 && !this.#hasFailed) this.#unansweredSince = undefined;
    };
  }

  /** Ends watching. */
  close(): void {
    this.#isClosed = true;
    clearInterval(this.#timer);
  }

  #answered(): void {
    const { log, connection } = this.#options;
    const unansweredMs = Math.round(this.unansweredMs);
    if (this.#isReported) log?.info({ connection, unansweredMs }, 'the API server answers again');
    this.#isReported = false;
    this.#hasFailed = false;
    this.#unansweredSince = this.#pending === 0 ? undefined : performance.now();
  }

  #watch(): void {
    if (this.#timer !== undefined || this.#isClosed) return;
    this.#timer = setInterval(() => {
      this.#tick();
    }, this.#options.silentMs / LOOKS).unref();
  }

  #tick(): void {
    if (this.#connections.size === 0 && this.#unansweredSince === undefined) {
      clearInterval(this.#timer);
      this.#timer = undefined;
      return;
    }
    this.#look();
    this.#looksSinceProbe += 1;
    const mayBeAway = this.unansweredMs >= this.#options.silentMs / 2;
    if (!mayBeAway && this.#silent().length === 0) return;
    if (!this.#isProbing && this.#looksSinceProbe >= LOOKS / 2) void this.#probe();
  }

  #look(): void {
    for (const [socket, seen] of this.#connections) {
      const { bytesRead } = socket;
      seen.silent = bytesRead === seen.bytesRead ? seen.silent + 1 : 0;
      seen.bytesRead = bytesRead;
    }
  }

  #silent(): readonly Socket[] {
    return [...this.#connections].filter(([, { silent }]) => silent >= LOOKS).map(([socket]) => socket);
  }

  async #probe(): Promise<void> {
    this.#isProbing = true;
    this.#looksSinceProbe = 0;
    try {
      await this.#options.probe();
      this.#answered();
      this.#closeDead();
    } catch (error) {
      this.#reportUnanswered(error);
    } finally {
      this.#isProbing = false;
    }
  }

  #closeDead(): void {
    const { connection, log, silentMs } = this.#options;
    // Bytes that came during the probe count.
    this.#look();
    const dead = this.#silent();
    if (dead.length === 0) return;
    log?.warn(
      { connection, connections: dead.length, silentMs },
      'closed dead connections to the API server: they received nothing, and a new connection was answered',
    );
    for (const socket of dead) socket.destroy(new errors.SocketError('the connection was dead'));
  }

  #reportUnanswered(error: unknown): void {
    const { connection, log } = this.#options;
    const unansweredMs = Math.round(this.unansweredMs);
    if (this.#isReported || unansweredMs < LONG_MS || this.#isClosed) return;
    this.#isReported = true;
    log?.warn({ connection, unansweredMs, error: messageOf(error) }, 'the API server does not answer');
  }
}
