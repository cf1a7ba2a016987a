/** The run that a client names. */
import { shortText } from '../../core/short-text.ts';
import { ReentryError } from '../../errors.ts';
import type { Versioned } from '../../ports/stores.ts';
import type { RunState } from '../../wire/run-state.ts';
import type { RunKey } from '../../wire/subjects.ts';
import { isTokenText } from '../../wire/tokens.ts';
import type { Engine } from '../protocol/engine.ts';

/** @throws ReentryError NOT_FOUND */
export async function found(engine: Engine, run: RunKey): Promise<Versioned<RunState>> {
  // What cannot be a run's id is none: nobody need be asked, and no subject be made of it.
  const seen = isTokenText(run.runId) ? await engine.broker.runs.read(run, { leader: true }) : undefined;
  if (seen === undefined)
    throw new ReentryError('NOT_FOUND', `no run ${shortText(run.runId)} of tenant ${run.tenant}`, { transient: false });
  return seen;
}
