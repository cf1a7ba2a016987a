import type { RunRequest } from '../../wire/run-request.ts';
import type { RunState } from '../../wire/run-state.ts';
import { keys } from '../../wire/subjects.ts';
import type { RunKey } from '../../wire/subjects.ts';

/** A request and its parameters, parsed and with defaults. */
export interface KnownRequest {
  readonly request: RunRequest;
  readonly params: unknown;
}

/** Requests remembered, and the JSON text of all of them together, at most. */
const MAX_REQUESTS = 4_096;
const MAX_BYTES = 4 * 1024 * 1024;

/**
 * The requests this process has lately read or taken in: a request never changes, and each run's steps need it again and again. Known by the
 * state's hash too, so that a run id that comes back after its retention is another request.
 */
export class KnownRequests {
  readonly #known = new Map<string, { readonly known: KnownRequest; readonly bytes: number }>();
  #bytes = 0;

  get(run: RunKey, { requestHash }: Pick<RunState, 'requestHash'>): KnownRequest | undefined {
    return this.#known.get(`${requestHash} ${keys.run(run)}`)?.known;
  }

  put(run: RunKey, { requestHash }: Pick<RunState, 'requestHash'>, known: KnownRequest): void {
    const key = `${requestHash} ${keys.run(run)}`;
    if (requestHash === '' || this.#known.has(key)) return;
    const bytes = JSON.stringify(known.request).length;
    this.#known.set(key, { known, bytes });
    this.#bytes += bytes;
    for (const [oldest, entry] of this.#known) {
      if (this.#known.size <= MAX_REQUESTS && this.#bytes <= MAX_BYTES) return;
      this.#known.delete(oldest);
      this.#bytes -= entry.bytes;
    }
  }
}
