/** A delivered step message: read, judged by the table of `core/run/transitions.ts`, carried out. */
import { diagnosisOf } from '../../core/run/diagnosis.ts';
import type { StepMessage } from '../../core/run/transitions.ts';
import { decide, isTerminal } from '../../core/run/transitions.ts';
import { cancelMarked, gated, resumed, taken, unlaunched } from '../../core/run/state-changes.ts';
import type { Delivery } from '../../ports/broker.ts';
import type { Versioned } from '../../ports/stores.ts';
import { ctlMessageSchema, resumeMessageSchema, startMessageSchema } from '../../wire/steps.ts';
import type { RunState } from '../../wire/run-state.ts';
import type { CtlMessage, ResumeMessage, StartMessage } from '../../wire/steps.ts';
import type { Lane, RunKey } from '../../wire/subjects.ts';
import { dec } from '../../wire/tokens.ts';
import { audit } from '../services/audit.ts';
import { deadLetter } from './dead-letters.ts';
import { runSpan, SPANS, within } from './tracing.ts';
import { gateOf, releaseSlot } from './gates.ts';
import { onOrphan } from '../upkeep/orphans.ts';
import type { Engine, Settled } from './engine.ts';
import { ACK } from './engine.ts';
import { giveUp, originOf, settled } from './settle.ts';
import { Holding, writeOver } from './store.ts';
import { cleanUpBefore, owe } from './announce.ts';
import { carryOutCancel, carryOutResume, carryOutStart } from './carry-out.ts';
import { cancelOf, countEnd } from './stop.ts';

type Parsed =
  | { readonly on: 'start'; readonly message: StartMessage }
  | { readonly on: 'resume'; readonly message: ResumeMessage }
  | { readonly on: 'ctl'; readonly message: CtlMessage };

/** The handler of one lane's messages. A message twice is harmless: the table answers from the state, not from the message alone. */
export function laneHandler(engine: Engine, lane: Lane): (delivery: Delivery) => Promise<void> {
  return async (delivery) => {
    const run = runOf(delivery);
    await settled(engine, lane, run, delivery, async (diedTooOften) => {
      const parsed = parse(lane, delivery.data);
      if (run === undefined || parsed === undefined) {
        engine.log.error({ subject: delivery.subject }, 'step message not understood');
        const why = diagnosisOf('DEAD_LETTERED', { message: 'step message not understood' });
        if (run !== undefined) await deadLetter(engine, 'step', run, delivery, why);
        return ACK;
      }
      if (parsed.on === 'ctl' && parsed.message.kind === 'orphan') return onOrphan(engine, run, parsed.message);
      return onStep(engine, lane, run, delivery, parsed, diedTooOften);
    });
  };
}

function runOf({ tenantToken, runIdToken }: Delivery): RunKey | undefined {
  const tenant = dec(tenantToken);
  const runId = dec(runIdToken);
  return tenant === undefined || runId === undefined ? undefined : { tenant, runId };
}

function parse(lane: Lane, data: Uint8Array): Parsed | undefined {
  try {
    const json: unknown = JSON.parse(new TextDecoder().decode(data));
    switch (lane) {
      case 'start':
        return { on: lane, message: startMessageSchema.parse(json) };
      case 'resume':
        return { on: lane, message: resumeMessageSchema.parse(json) };
      case 'ctl':
        return { on: lane, message: ctlMessageSchema.parse(json) };
    }
  } catch {
    return undefined;
  }
}

function asked(parsed: Parsed): StepMessage {
  switch (parsed.on) {
    case 'start':
      return { on: 'start', attempt: parsed.message.attempt };
    case 'resume':
      return { on: 'resume', step: parsed.message.step, event: parsed.message.event };
    case 'ctl':
      return { on: 'cancel' };
  }
}

async function onStep(
  engine: Engine,
  lane: Lane,
  run: RunKey,
  delivery: Delivery,
  parsed: Parsed,
  diedTooOften: boolean,
): Promise<Settled> {
  const { broker } = engine;
  const stateRev = parsed.on === 'ctl' ? undefined : parsed.message.stateRev;
  // A direct read may be stale; what the message has seen, we see too. A redelivery may own the run: the leader knows.
  let seen = await broker.runs.read(
    run,
    stateRev === undefined || delivery.deliveries > 1 ? { leader: true } : { atLeastRevision: stateRev },
  );
  for (;;) {
    const tried = await act(engine, lane, run, delivery, parsed, diedTooOften, seen);
    if (tried.kind !== 'lost') return tried;
    seen = tried.seen;
  }
}

/** `lost`: somebody wrote first, nothing was done. */
type Tried = Settled | { readonly kind: 'lost'; readonly seen: Versioned<RunState> | undefined };

async function act(
  engine: Engine,
  lane: Lane,
  run: RunKey,
  delivery: Delivery,
  parsed: Parsed,
  diedTooOften: boolean,
  seen: Versioned<RunState> | undefined,
): Promise<Tried> {
  const { broker } = engine;
  const { action } = decide(seen?.value, asked(parsed), delivery, broker.now());
  if (parsed.on === 'ctl') auditCancel(engine, run, seen?.value, action, parsed.message.reason);
  if (action === 'drop') {
    await broker.subscriptions.delete(run);
    // Taken by this message's own holder, right before the run was cancelled.
    if (seen !== undefined && isTerminal(seen.value.phase)) await releaseSlot(engine, run, seen.value);
  }
  if (seen === undefined || action === 'ack' || action === 'drop') return ACK;
  const state = seen.value;
  if (diedTooOften && !isTerminal(state.phase)) {
    const message = `its worker died ${delivery.deliveries - 1} times`;
    if (await giveUp(engine, run, seen, delivery, lane, message)) return ACK;
    return { kind: 'lost', seen: await broker.runs.read(run, { leader: true }) };
  }
  const holder = { stream: delivery.stream, seq: delivery.seq, by: engine.id };
  switch (action) {
    case 'owe':
      await owe(engine, run, seen, originOf(lane));
      return ACK;
    case 'mark': {
      const reason = parsed.on === 'ctl' ? parsed.message.reason : undefined;
      const written = await writeOver(broker.runs, run, cancelMarked(state, broker.now(), reason), seen.revision);
      if (written.kind === 'lost') return written;
      // The owner may be keeping its slot, waiting.
      await broker.publish.nudge(state.fence.by, run);
      return ACK;
    }
    case 'end': {
      const now = broker.now();
      const cancelled = parsed.on === 'ctl';
      const base = cancelled ? cancelMarked(state, now, parsed.message.reason) : state;
      const outcome = cancelled
        ? { state: 'cancelled' as const, diagnosis: cancelOf(base).diagnosis }
        : { state: 'failed' as const, diagnosis: diagnosisOf('EXPIRED') };
      const fence = { ...holder, epoch: state.fence.epoch + 1 };
      // Whoever failed the attempt before may have died before its clean-up, and the end's state names no pod: now, or the search for orphans.
      await cleanUpBefore(engine, run, state).catch((error: unknown) => {
        engine.log.warn({ ...run, error: String(error) }, 'clean-up of the attempt before failed');
      });
      const written = await writeOver(broker.runs, run, { ...unlaunched(base, outcome, now), fence }, seen.revision);
      if (written.kind === 'lost') return written;
      await owe(engine, run, written.seen, originOf(lane));
      countEnd(engine, run, written.seen.value);
      return ACK;
    }
    case 'take':
      return take(engine, run, delivery, parsed, seen, holder);
  }
}

/** What a cancel comes to; lost writes and redeliveries may say it again. */
function auditCancel(
  { log }: Engine,
  run: RunKey,
  state: RunState | undefined,
  action: ReturnType<typeof decide>['action'],
  reason: string | undefined,
): void {
  const outcomes = {
    end: 'cancelled',
    take: 'stopping',
    mark: 'stopping',
    owe: 'stopping',
    drop: 'over',
    ack: 'over',
  } as const;
  const outcome = state === undefined ? 'NOT_FOUND' : outcomes[action];
  audit(log, { audit: 'cancel', via: 'subject', run, queue: state?.queue, outcome, reason });
}

async function take(
  engine: Engine,
  run: RunKey,
  delivery: Delivery,
  parsed: Parsed,
  seen: Versioned<RunState>,
  holder: { readonly stream: string; readonly seq: number; readonly by: string },
): Promise<Tried> {
  const { broker } = engine;
  const state = seen.value;
  const now = broker.now();
  switch (parsed.on) {
    case 'start': {
      // A redelivery in phase Starting has passed already.
      const why = state.phase === 'Queued' ? await gateOf(engine, run, state, delivery) : undefined;
      if (why !== undefined) {
        const put = await writeOver(broker.runs, run, gated(state, why, holder, now), seen.revision);
        if (put.kind === 'lost') return put;
        engine.meter.count('runs_gated_total', { queue: state.queue, why });
        await owe(engine, run, put.seen, 'start');
        return ACK;
      }
      const written = await writeOver(broker.runs, run, taken(state, 'Starting', holder), seen.revision);
      if (written.kind === 'lost') return written;
      const span = runSpan(engine.tracer, SPANS.launch, run, written.seen.value);
      return within(span, () => carryOutStart(engine, new Holding(broker.runs, run, written.seen)));
    }
    case 'resume': {
      const { event } = parsed.message;
      const reentry = event.kind !== 'running' && state.stopping === undefined;
      const fresh = reentry && state.timings.resumedAt === undefined;
      const next = taken(fresh ? resumed(state, now) : state, 'Resuming', holder);
      const written = await writeOver(broker.runs, run, next, seen.revision);
      if (written.kind === 'lost') return written;
      const holding = new Holding(broker.runs, run, written.seen);
      const { timings } = state;
      const { pod } = event;
      const finishedAt = pod?.containers.find(({ name }) => name === pod.baseContainer)?.finishedAt;
      if (fresh && finishedAt !== undefined)
        engine.meter.observeSeconds('resume_delay_seconds', Math.max(0, now - finishedAt) / 1000);
      if (reentry) runSpan(engine.tracer, SPANS.wait, run, state, timings.launchedAt ?? timings.acceptedAt).end();
      const span = runSpan(engine.tracer, SPANS.resume, run, written.seen.value);
      return within(span, () => carryOutResume(engine, holding, event, fresh || (reentry && delivery.deliveries > 1)));
    }
    case 'ctl': {
      const marked = state.cancel === undefined ? cancelMarked(state, now, parsed.message.reason) : state;
      const written = await writeOver(broker.runs, run, taken(marked, 'Resuming', holder), seen.revision);
      if (written.kind === 'lost') return written;
      const span = runSpan(engine.tracer, SPANS.cancel, run, written.seen.value);
      return within(span, () => carryOutCancel(engine, new Holding(broker.runs, run, written.seen)));
    }
  }
}
