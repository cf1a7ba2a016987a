/**
 * Stored requests without a run: of a run that was forgotten, of an intake that never finished, of `submit` of an earlier release. They add to the fill
 * of their bucket, which stops intake for all tenants.
 */
import type { StoredRequest } from '../../ports/stores.ts';
import { keys } from '../../wire/subjects.ts';
import type { RunKey } from '../../wire/subjects.ts';
import type { BrokerParts, Engine } from '../protocol/engine.ts';

/** A request without a run that is this old belongs to no intake under way. An intake that comes later stores it again. */
const UNCLAIMED_AFTER_MS = 3_600_000;
/** Pause between the two checks that must find no run: longer than an intake takes with its retries. */
const CHECK_AGAIN_AFTER_MS = 120_000;
/** Maximum entries, and bytes of entries, that one sweep reads. */
const MAX_ENTRIES = 1_000;
const MAX_BYTES = 32 * 1024 * 1024;
/** Maximum requests without a run that wait for their second check. */
const MAX_SUSPECTS = 10_000;
/** Sweeps start from the first sequence again: for entries that could not be checked, and for runs that were forgotten without their requests. */
const RESTART_AFTER_MS = 3_600_000;

type UnclaimedParts = BrokerParts<'runs' | 'requests' | 'now'> & Pick<Engine, 'log'>;

/**
 * Deletes a request if it has no run. An intake under way stores the request again, which changes its revision; one that does not is noticed by the
 * second read. Resolves with whether it was deleted.
 */
export async function dropUnclaimed(
  { broker: { runs, requests } }: BrokerParts<'runs' | 'requests'>,
  run: RunKey,
  { request, revision }: { readonly request: unknown; readonly revision: number },
): Promise<boolean> {
  if ((await runs.read(run, { leader: true })) !== undefined) return false;
  const deleted = await requests.delete(run, revision);
  // Whatever the delete returned: its acknowledgement may have been lost.
  if ((await runs.read(run, { leader: true })) === undefined) return deleted;
  await requests.claim(run, request);
  return false;
}

/**
 * Goes through the bucket in the order of the stream and deletes requests without a run. New entries and deletions stand at its end, so each entry is
 * read once, when it is old enough; a sweep with nothing to do reads one entry.
 */
export class UnclaimedRequests {
  readonly #parts: UnclaimedParts;
  #past = 0;
  #startedAt = Number.NEGATIVE_INFINITY;
  /** By key: requests that had no run at their first check. Without the requests, which may be large. */
  readonly #suspects = new Map<string, Pick<StoredRequest, 'run' | 'revision'> & { readonly seenAt: number }>();

  constructor(parts: UnclaimedParts) {
    this.#parts = parts;
  }

  async sweep(): Promise<void> {
    const now = this.#parts.broker.now();
    for (const [key, { run, revision, seenAt }] of this.#suspects) {
      // The map is in the order of the first checks.
      if (seenAt + CHECK_AGAIN_AFTER_MS > now) break;
      this.#suspects.delete(key);
      await this.#attempt(run, () => this.#drop(run, revision));
    }
    await this.#readNext(now);
  }

  async #readNext(now: number): Promise<void> {
    const { requests, runs } = this.#parts.broker;
    if (this.#startedAt === Number.NEGATIVE_INFINITY) this.#startedAt = now;
    let bytes = 0;
    for (let read = 0; read < MAX_ENTRIES && bytes < MAX_BYTES; read += 1) {
      if (this.#suspects.size >= MAX_SUSPECTS) return;
      const entry = await requests.next(this.#past);
      // Everything that follows is younger.
      if (entry === undefined || entry.at + UNCLAIMED_AFTER_MS > now) {
        if (this.#startedAt + RESTART_AFTER_MS > now) return;
        this.#past = 0;
        this.#startedAt = now;
        return;
      }
      const { run, revision, deleted } = entry;
      this.#past = revision;
      bytes += entry.bytes;
      if (deleted) continue;
      await this.#attempt(run, async () => {
        // Most have a run, which any replica shows; only the leader knows that there is none.
        if ((await runs.read(run)) !== undefined) return;
        this.#suspects.delete(keys.run(run));
        this.#suspects.set(keys.run(run), { run, revision, seenAt: now });
      });
    }
  }

  async #drop(run: RunKey, revision: number): Promise<void> {
    const { runs, requests } = this.#parts.broker;
    if ((await runs.read(run)) !== undefined) return;
    const request = await requests.read(run);
    if (request !== undefined && (await dropUnclaimed(this.#parts, run, { request, revision })))
      this.#parts.log.info(run, 'deleted a request without a run');
  }

  /** A failure with one request must not stop the sweep. */
  async #attempt(run: RunKey, act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      this.#parts.log.warn({ ...run, error: String(error) }, 'the janitor failed with a request; retrying');
    }
  }
}
