import { filter, interval, map, type Observable } from 'rxjs';
import { SLOT_MS, type TimingWheel } from '../core/timing-wheel.ts';

/**
 * The wheel, turned: batches of keys that are due. One timer for all of them. Never ends; an empty turn is not told.
 *
 * ```
 * schedule(a, 230)  schedule(b, 250)  schedule(c, 5 days)
 * turns   ──|────|────|────|────|────|───
 * out     ────────────[a,b]───────────────   and c in five days, having cost one move
 * ```
 */
export function dueBatches$<K>(wheel: TimingWheel<K>, now: () => number): Observable<readonly K[]> {
  return interval(SLOT_MS).pipe(
    map(() => wheel.turn(now())),
    filter((keys) => keys.length > 0),
  );
}
