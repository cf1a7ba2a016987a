import type { Observable } from 'rxjs';
import type { Credits } from '../../ports/broker.ts';
import type { RunKey } from '../../wire/subjects.ts';

/** Rations starts of one queue: lane `start` acquires a permit before each launch. An executor gives one per free slot. */
export interface StartPermits {
  /** How many start messages may be held. */
  readonly credits: Credits;
  /** Waits for a permit and resolves with the function that returns it; `undefined` once this process stops: the message must be requeued. */
  acquire(run: RunKey, stop$: Observable<unknown>): Promise<(() => void) | undefined>;
}
