import type { RunRequest } from '../../wire/run-request.ts';
import type { RunState } from '../../wire/run-state.ts';
import { keys } from '../../wire/subjects.ts';
import type { RunKey } from '../../wire/subjects.ts';

/** A request and its parameters, parsed and with defaults. */
export interface KnownRequest {
  readonly request: RunRequest;
  readonly params: unknown;
}

/** Most requests in the cache. */
const MAX_REQUESTS = 4_096;
/** Most characters of JSON of all requests in the cache. */
const MAX_LENGTH = 4 * 1024 * 1024;

/**
 * Cache of the requests that this process has read or accepted, oldest out first. A request never changes, and every step of its run needs it.
 * The key includes the request's hash: a run id may be used again for another request once the first run was forgotten.
 */
export class KnownRequests {
  readonly #known = new Map<string, { readonly known: KnownRequest; readonly length: number }>();
  #length = 0;

  get(run: RunKey, { requestHash }: Pick<RunState, 'requestHash'>): KnownRequest | undefined {
    return this.#known.get(`${requestHash} ${keys.run(run)}`)?.known;
  }

  put(run: RunKey, { requestHash }: Pick<RunState, 'requestHash'>, known: KnownRequest): void {
    const key = `${requestHash} ${keys.run(run)}`;
    if (requestHash === '' || this.#known.has(key)) return;
    const { length } = JSON.stringify(known.request);
    this.#known.set(key, { known, length });
    this.#length += length;
    for (const [oldest, entry] of this.#known) {
      if (this.#known.size <= MAX_REQUESTS && this.#length <= MAX_LENGTH) return;
      this.#known.delete(oldest);
      this.#length -= entry.length;
    }
  }
}
