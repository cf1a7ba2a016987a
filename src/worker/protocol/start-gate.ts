import type { Observable } from 'rxjs';
import type { Credits } from '../../ports/broker.ts';
import type { RunKey } from '../../wire/subjects.ts';

/** What stands before lane `start` where launches are rationed: an executor's slots. */
export interface StartGate {
  /** How many start messages may be held. */
  readonly credits: Credits;
  /** Takes a slot for the run; waits for one where none is free. Gives what returns it; `undefined`: this process stops, the message goes back. */
  admit(run: RunKey, stop$: Observable<unknown>): Promise<(() => void) | undefined>;
}
