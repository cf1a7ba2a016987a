/** A message that is given up. */
import type { Delivery } from '../../ports/broker.ts';
import type { Diagnosis } from '../../wire/outcome.ts';
import type { RunKey } from '../../wire/subjects.ts';
import type { Engine } from './engine.ts';

/** Keeps a copy of the message as a dead letter, and counts it: each of them is somebody's to look at. A repetition may count again. */
export async function deadLetter(
  { broker, meter }: Pick<Engine, 'broker' | 'meter'>,
  kind: 'run' | 'step',
  run: RunKey,
  delivery: Delivery,
  why: Diagnosis,
): Promise<void> {
  await broker.publish.deadLetter(kind, run, delivery.data, why, delivery);
  meter.count('dead_letters_total', { kind });
}
