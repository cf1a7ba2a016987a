/** Step messages of the lanes `start`, `resume` and `ctl`: what each of them proposes to do with its run. */
import { baseContainerOf } from '../../core/pod/projection.ts';
import { diagnosisOf } from '../../core/run/diagnosis.ts';
import { cancelMarked, gated, resumed, taken, unlaunched } from '../../core/run/state-changes.ts';
import type { StepMessage } from '../../core/run/transitions.ts';
import type { Delivery, DeliveryHandler } from '../../ports/broker.ts';
import { ctlMessageSchema, resumeMessageSchema, startMessageSchema } from '../../wire/steps.ts';
import type { RunState } from '../../wire/run-state.ts';
import type { CtlMessage, ResumeMessage, StartMessage } from '../../wire/steps.ts';
import { type Lane, type RunKey, runOfTokens } from '../../wire/subjects.ts';
import { audit } from '../services/audit.ts';
import { onOrphan } from '../upkeep/orphans.ts';
import { advance, deadLetter } from './advance.ts';
import type { AdvanceParts, LaneMessage, Proposal } from './advance.ts';
import { cleanUpPrevious } from './announce.ts';
import { closedGate } from './gates.ts';
import type { GateParts } from './gates.ts';
import { ACK, settle } from './settle.ts';
import type { SettleParts, Settlement } from './settle.ts';
import { cancelOf } from './carry-out.ts';
import { runSpan, SPANS } from './tracing.ts';

/** What steps take. */
export type StepParts = AdvanceParts & GateParts & SettleParts;

/** The handler of one lane's messages. */
export function laneHandler(parts: StepParts, lane: Lane): DeliveryHandler {
  return async (delivery) => {
    const run = runOfTokens(delivery.tenantToken, delivery.runIdToken);
    await settle(parts, { lane, run, delivery }, async (giveUp) => {
      const message = run === undefined ? undefined : messageOf(parts, lane, run, delivery);
      if (run === undefined || message === undefined) return unreadable(parts, run, delivery);
      if (!('orphan' in message)) return advance(parts, message, giveUp);
      const { pod } = message.orphan;
      return pod === undefined ? ACK : onOrphan(parts, run, pod);
    });
  };
}

/** The message of a delivery; `undefined` where it cannot be read. */
function messageOf(
  parts: StepParts,
  lane: Lane,
  run: RunKey,
  delivery: Delivery,
): LaneMessage | { readonly orphan: CtlMessage } | undefined {
  try {
    const json: unknown = JSON.parse(new TextDecoder().decode(delivery.data));
    switch (lane) {
      case 'start':
        return startMessage(parts, run, delivery, startMessageSchema.parse(json));
      case 'resume':
        return resumeMessage(parts, run, delivery, resumeMessageSchema.parse(json));
      case 'ctl': {
        const message = ctlMessageSchema.parse(json);
        return message.kind === 'orphan' ? { orphan: message } : cancelMessage(parts, run, delivery, message);
      }
    }
  } catch {
    return undefined;
  }
}

/** The attempt that a start message is for; `undefined`: it cannot be read. */
export function attemptOf({ data }: Delivery): number | undefined {
  try {
    const json: unknown = JSON.parse(new TextDecoder().decode(data));
    return startMessageSchema.parse(json).attempt;
  } catch {
    return undefined;
  }
}

async function unreadable(parts: StepParts, run: RunKey | undefined, delivery: Delivery): Promise<Settlement> {
  const message = 'the step message cannot be read';
  parts.log.error({ subject: delivery.subject }, message);
  if (run !== undefined) await deadLetter(parts, 'step', run, delivery, diagnosisOf('DEAD_LETTERED', { message }));
  return ACK;
}

/** A direct read may be stale: it must be as new as what the sender saw. A redelivery may own the run, which only the leader knows for certain. */
const readFor = (delivery: Delivery, stateRev: number | undefined): LaneMessage['read'] =>
  stateRev === undefined || delivery.deliveries > 1 ? { leader: true } : { atLeastRevision: stateRev };

const holderOf = ({ stream, seq }: Delivery, { id }: StepParts) => ({ stream, seq, by: id });

function startMessage(parts: StepParts, run: RunKey, delivery: Delivery, message: StartMessage): LaneMessage {
  const asks: StepMessage = { on: 'start', attempt: message.attempt };
  const holder = holderOf(delivery, parts);
  return {
    ...{ run, delivery, origin: 'start', asks, read: readFor(delivery, message.stateRev) },
    propose: async (_, state): Promise<Proposal> => {
      // A redelivery in phase Starting has passed the gates.
      const isFresh = state.phase === 'Queued';
      const why = isFresh ? await closedGate(parts, run, state, delivery) : undefined;
      return why === undefined
        ? { on: 'start', draft: taken(state, 'Starting', holder), work: { on: 'start', isFresh } }
        : { on: 'gate', draft: gated(state, why, holder, parts.broker.now()) };
    },
  };
}

function resumeMessage(parts: StepParts, run: RunKey, delivery: Delivery, message: ResumeMessage): LaneMessage {
  const { event, step } = message;
  const holder = holderOf(delivery, parts);
  return {
    ...{ run, delivery, origin: 'resume', asks: { on: 'resume', step, event } },
    read: readFor(delivery, message.stateRev),
    propose: async (action, state): Promise<Proposal> => {
      const now = parts.broker.now();
      if (action === 'end') {
        await cleanUpBeforeEnd(parts, run, state);
        const expired = unlaunched(state, { state: 'failed', diagnosis: diagnosisOf('EXPIRED') }, now);
        return { on: 'resume', draft: { ...expired, fence: { ...holder, epoch: state.fence.epoch + 1 } } };
      }
      // Neither its logging interval nor a pod that is being stopped re-enters the attempt.
      const reenters = event.kind !== 'running' && state.stopping === undefined;
      const fresh = reenters && state.timings.resumedAt === undefined;
      const next = taken(state, 'Resuming', holder);
      return {
        on: 'resume',
        draft: fresh ? resumed(next, now) : next,
        stored: () => {
          if (fresh) observeDelay(parts, message, now);
          const { launchedAt, acceptedAt } = state.timings;
          if (reenters) runSpan(parts.tracer, SPANS.wait, run, state, launchedAt ?? acceptedAt).end();
        },
        work: { on: 'resume', event, first: fresh || (reenters && state.resumedStep === state.step) },
      };
    },
  };
}

/** How long after its pod's base container had ended the run was resumed. */
function observeDelay({ meter }: StepParts, { event: { pod } }: ResumeMessage, now: number): void {
  const finishedAt = pod === undefined ? undefined : baseContainerOf(pod)?.finishedAt;
  if (finishedAt !== undefined) meter.observeSeconds('resume_delay_seconds', Math.max(0, now - finishedAt) / 1000);
}

function cancelMessage(parts: StepParts, run: RunKey, delivery: Delivery, { reason }: CtlMessage): LaneMessage {
  const holder = holderOf(delivery, parts);
  const auditAs = (outcome: string, queue?: string) => {
    audit(parts.log, { audit: 'cancel', via: 'subject', run, queue, outcome, reason });
  };
  return {
    ...{ run, delivery, origin: 'cancel', asks: { on: 'cancel' }, read: { leader: true } },
    ignored: (state) => {
      auditAs(state === undefined ? 'NOT_FOUND' : 'over', state?.queue);
    },
    propose: async (action, state): Promise<Proposal> => {
      auditAs(action === 'end' ? 'cancelled' : 'stopping', state.queue);
      const now = parts.broker.now();
      const marked = state.cancel === undefined ? cancelMarked(state, now, reason) : state;
      switch (action) {
        case 'mark':
          return {
            on: 'cancel',
            draft: marked,
            // Its owner may be waiting for the pod of a blocking run.
            stored: ({ fence }) => parts.broker.publish.nudge(fence.by, run),
          };
        case 'take':
          return { on: 'cancel', draft: taken(marked, 'Resuming', holder), work: { on: 'cancel' } };
        case 'end': {
          await cleanUpBeforeEnd(parts, run, state);
          const { diagnosis } = cancelOf(marked);
          const draft = unlaunched(marked, { state: 'cancelled', diagnosis }, now);
          return { on: 'cancel', draft: { ...draft, fence: { ...holder, epoch: state.fence.epoch + 1 } } };
        }
      }
    },
  };
}

/** The worker that failed the previous attempt may have died before cleaning up, and the final state will not name that pod. */
async function cleanUpBeforeEnd(parts: StepParts, run: RunKey, state: RunState): Promise<void> {
  try {
    await cleanUpPrevious(parts, run, state);
  } catch (error) {
    parts.log.warn({ ...run, error: String(error) }, 'cleaning up the previous attempt failed');
  }
}
