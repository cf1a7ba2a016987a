/** Progress of one role: pipelines that ended, how long the broker has been connected, and lanes that settle nothing. For `/healthz`. */
import { ignoreElements, take, tap } from 'rxjs';
import type { MonoTypeOperatorFunction, Observable } from 'rxjs';
import { stuckReasons } from '../core/liveness.ts';
import type { DeliveryHandler } from '../ports/broker.ts';

/** Collects what the liveness of a role is judged by. */
export class Progress {
  readonly #now: () => number;
  readonly #ended = new Set<string>();
  readonly #turnedAt = new Map<string, number>();
  /** Since when a lane has held all it may without settling any. */
  readonly #fullSince = new Map<string, number>();
  #connectedSince: number | undefined;
  #isStopping = false;

  /** `now`: monotonic milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Why only a restart helps; empty: none is needed. */
  get stuck(): readonly string[] {
    const now = this.#now();
    const ages = (since: ReadonlyMap<string, number>) =>
      Object.fromEntries([...since].map(([name, at]) => [name, now - at]));
    return stuckReasons({
      ended: this.#isStopping ? [] : [...this.#ended],
      connectedForMs: this.#connectedSince === undefined ? undefined : now - this.#connectedSince,
      silentForMs: ages(this.#turnedAt),
      fullForMs: ages(this.#fullSince),
    });
  }

  /** Whether the broker is connected. */
  connected(isConnected: boolean): void {
    this.#connectedSince = isConnected ? (this.#connectedSince ?? this.#now()) : undefined;
  }

  /** A loop has turned. */
  turned(name: string): void {
    this.#turnedAt.set(name, this.#now());
  }

  /** From `stop$` on, pipelines may end. To be merged before all that ends with it. */
  stopping$(stop$: Observable<unknown>): Observable<never> {
    return stop$.pipe(
      take(1),
      tap(() => {
        this.#isStopping = true;
      }),
      ignoreElements(),
    );
  }

  /** A pipeline that must not end before the stop. An error ends the process by itself. */
  endless<T>(name: string): MonoTypeOperatorFunction<T> {
    return tap({
      complete: () => {
        if (!this.#isStopping) this.#ended.add(name);
      },
    });
  }

  /** The handler of a lane that holds at most `credits` messages and settles each within minutes. */
  settling(name: string, credits: number, handle: DeliveryHandler): DeliveryHandler {
    let held = 0;
    const changed = () => {
      if (held < credits) this.#fullSince.delete(name);
      else this.#fullSince.set(name, this.#now());
    };
    return async (delivery) => {
      held += 1;
      changed();
      try {
        await handle(delivery);
      } finally {
        held -= 1;
        changed();
      }
    };
  }
}
