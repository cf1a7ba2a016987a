/**
 * Stored requests that no run was made of: `submit` stores a request before it publishes it. They count in the fill of their bucket, which
 * stops intake for everybody. @see spec protocol §2, §4
 */
import type { StoredRequest } from '../../ports/stores.ts';
import { keys } from '../../wire/subjects.ts';
import type { RunKey } from '../../wire/subjects.ts';
import type { Engine } from '../protocol/engine.ts';

/** How old a request without a run is when nobody is about to make one. An intake that comes later stores it again. */
const UNCLAIMED_AFTER_MS = 3_600_000;
/** Between the two looks that find no run: longer than an intake takes that holds its message (`ack_wait`) and repeats its writes. */
const LOOK_AGAIN_AFTER_MS = 120_000;
/** What one sweep looks at: entries, and bytes of them, which a look costs since it brings the entry along. */
const LOOK_AT = 1_000;
const LOOK_AT_BYTES = 32 * 1024 * 1024;
/** Requests seen without a run that are remembered for the second look. */
const MAX_SUSPECTS = 10_000;
/** From the beginning again: for what could not be looked at, and for runs that went without their requests. */
const FROM_THE_BEGINNING_AFTER_MS = 3_600_000;

/**
 * Deletes a request if no run was made of it. An intake that is about to make one stores it anew, which the revision tells; whoever makes a run
 * without that is seen by the look afterwards.
 */
export async function dropUnclaimed(
  { broker: { runs, requests } }: Engine,
  run: RunKey,
  { request, revision }: { readonly request: unknown; readonly revision: number },
): Promise<boolean> {
  if ((await runs.read(run, { leader: true })) !== undefined) return false;
  const deleted = await requests.delete(run, revision);
  // Whatever the delete says: its acknowledgement may have been lost.
  if ((await runs.read(run, { leader: true })) === undefined) return deleted;
  await requests.create(run, request);
  return false;
}

/**
 * Goes through the bucket piece by piece and deletes what is left over. What is stored or deleted stands at the end, so that entries need one
 * look, when they are old enough; a sweep that has nothing to do reads one entry.
 */
export class UnclaimedRequests {
  readonly #engine: Engine;
  #past = 0;
  #begunAt = Number.NEGATIVE_INFINITY;
  /** By key: seen without a run once. Without what they say: thousands of them are of any size. */
  readonly #suspects = new Map<string, Pick<StoredRequest, 'run' | 'revision'> & { readonly seenAt: number }>();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  async sweep(): Promise<void> {
    const now = this.#engine.broker.now();
    for (const [key, { run, revision, seenAt }] of this.#suspects) {
      // In the order in which they were seen.
      if (seenAt + LOOK_AGAIN_AFTER_MS > now) break;
      this.#suspects.delete(key);
      await this.#carefully(run, () => this.#drop(run, revision));
    }
    await this.#look(now);
  }

  async #look(now: number): Promise<void> {
    const { requests, runs } = this.#engine.broker;
    if (this.#begunAt === Number.NEGATIVE_INFINITY) this.#begunAt = now;
    let bytes = 0;
    for (let looked = 0; looked < LOOK_AT && bytes < LOOK_AT_BYTES; looked += 1) {
      if (this.#suspects.size >= MAX_SUSPECTS) return;
      const entry = await requests.next(this.#past);
      // Whatever follows is younger still.
      if (entry === undefined || entry.at + UNCLAIMED_AFTER_MS > now) {
        if (this.#begunAt + FROM_THE_BEGINNING_AFTER_MS > now) return;
        this.#past = 0;
        this.#begunAt = now;
        return;
      }
      const { run, revision, deleted } = entry;
      this.#past = revision;
      bytes += entry.bytes;
      if (deleted) continue;
      await this.#carefully(run, async () => {
        // Most have a run: a look at any replica says so; that there is none, only the leader knows.
        if ((await runs.read(run)) !== undefined) return;
        this.#suspects.delete(keys.run(run));
        this.#suspects.set(keys.run(run), { run, revision, seenAt: now });
      });
    }
  }

  async #drop(run: RunKey, revision: number): Promise<void> {
    const { runs, requests } = this.#engine.broker;
    if ((await runs.read(run)) !== undefined) return;
    const request = await requests.read(run);
    if (request !== undefined && (await dropUnclaimed(this.#engine, run, { request, revision })))
      this.#engine.log.info(run, 'a request that no run was made of is deleted');
  }

  /** What cannot be looked at must not keep the others from their turn. */
  async #carefully(run: RunKey, look: () => Promise<void>): Promise<void> {
    try {
      await look();
    } catch (error) {
      this.#engine.log.warn({ ...run, error: String(error) }, 'the janitor could not look at a request; tried again');
    }
  }
}
