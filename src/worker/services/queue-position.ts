/** Where a run that waits for its turn stands, for `status` and `explain`. */
import { diagnosisOf } from '../../core/run/diagnosis.ts';
import type { DiagnosisCode } from '../../core/run/diagnosis.ts';
import type { RunState } from '../../wire/run-state.ts';
import type { RunSummary } from '../../wire/services.ts';
import type { Gate } from '../../wire/triggers.ts';
import type { RunKey } from '../../wire/subjects.ts';
import type { Engine } from '../protocol/engine.ts';

/** What a run waits for at its gate, in words. */
export function gateText(why: Gate['why'], queue: string, concurrencyKey = ''): string {
  switch (why) {
    case 'paused':
      return `queue ${queue} to be resumed`;
    case 'turn':
      return `its turn in queue ${queue}`;
    case 'key':
      return `a slot of concurrencyKey ${concurrencyKey}`;
  }
}

/** Where a run that waits for its turn stands, and why it does not start; empty for others. */
export async function placeFor(
  engine: Engine,
  run: RunKey,
  { await: wait, queue, phase }: RunState,
): Promise<Pick<RunSummary, 'queuePosition' | 'blocked' | 'waitingFor'>> {
  if (phase !== 'Queued' || wait?.gate === undefined) return {};
  const place = await engine.broker.queries.queuePosition(run);
  // A triggerer sees the queue as it is now; the run only as it was when it was put back.
  const why = place === undefined || place.why === 'admitted' ? (place?.why ?? wait.gate.why) : place.why;
  if (why === 'admitted') return { ...(place === undefined ? {} : { queuePosition: place }), waitingFor: 'a worker' };
  const key = wait.gate.concurrencyKey;
  const standing = place === undefined ? '' : ` (${place.position} of ${place.of})`;
  const alone = place === undefined ? '' : `position ${place.position} of ${place.of}`;
  const message = place?.reason === undefined || place.reason === '' ? alone : `${place.reason}${standing}`;
  const facts = { subject: why === 'key' ? (key ?? '') : queue, ...(message === '' ? {} : { message }) };
  return {
    waitingFor: `${gateText(why, queue, key)}${standing}`,
    ...(place === undefined ? {} : { queuePosition: place }),
    blocked: diagnosisOf(GATE_CODES[why], facts),
  };
}

const GATE_CODES = { paused: 'QUEUE_PAUSED', turn: 'QUEUE_TURN', key: 'CONCURRENCY_LIMIT' } as const satisfies Record<
  Gate['why'],
  DiagnosisCode
>;
