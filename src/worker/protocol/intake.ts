/** Takes run requests in: the request is checked and stored, and its run begins as Queued, or as Failed where the request is invalid. */
import { createHash } from 'node:crypto';
import { diagnosisOf } from '../../core/run/diagnosis.ts';
import { accepted, refused } from '../../core/run/state-changes.ts';
import type { Draft } from '../../core/run/state-changes.ts';
import { ReentryError } from '../../errors.ts';
import type { Delivery, DeliveryHandler, WaitingRequest } from '../../ports/broker.ts';
import { storedRequestSchema, TRACEPARENT } from '../../wire/run-request.ts';
import type { Diagnosis } from '../../wire/outcome.ts';
import { type RunKey, runOfTokens } from '../../wire/subjects.ts';
import { dec } from '../../wire/tokens.ts';
import { audit } from '../services/audit.ts';
import { hashOf, readRequest } from '../services/validate.ts';
import { advance, deadLetter } from './advance.ts';
import type { AdvanceParts, Proposal } from './advance.ts';
import type { BrokerParts } from './engine.ts';
import { settle } from './settle.ts';
import type { SettleParts } from './settle.ts';
import { attributesOf, SPANS } from './tracing.ts';

/** What intake takes. */
export type IntakeParts = AdvanceParts & SettleParts & BrokerParts<'queues'>;

/** A request as it was delivered. */
interface Intake {
  readonly queue: string;
  readonly delivery: Delivery;
  readonly run: RunKey;
  /** Why the subject names no run, where it does not. */
  readonly badSubject: string | undefined;
  /** Why the request is given up. */
  readonly giveUp: string | undefined;
}

/**
 * The handler of a queue's run requests. The first one in the stream makes the run; it is looked up before the state is read, so that an earlier one
 * is either found there or has a state by then. Both come before the request is parsed: a later one changes nothing, whatever it contains.
 */
export function intakeHandler(parts: IntakeParts, queue: string): DeliveryHandler {
  return async (delivery) => {
    const { run, badSubject } = addressed(delivery);
    await settle(parts, { lane: 'intake', run, delivery }, async (giveUp) => {
      const { tenantToken, runIdToken } = delivery;
      const first = await parts.broker.queues.firstRequest({ ...run, tokens: `${tenantToken}.${runIdToken}` });
      return await advance(
        parts,
        {
          ...{ run, delivery, origin: 'request', asks: { on: 'request' } },
          read: { leader: true },
          create: async () =>
            isFirst(delivery, first) ? newRun(parts, { queue, delivery, run, badSubject, giveUp }) : undefined,
          ignored: () => {
            audit(parts.log, { audit: 'submit', via: 'subject', run, queue, outcome: 'duplicate' });
          },
        },
        giveUp,
      );
    });
  };
}

/**
 * Whether the delivered request is the first under its run id. Where an earlier one is in the stream, that one makes the run, now or when it is
 * delivered again.
 * @throws ReentryError transient where the stream does not show the delivered request: its leader has just changed, or it was acknowledged
 */
function isFirst({ seq }: Delivery, first: WaitingRequest | undefined): boolean {
  if (first === undefined || first.seq > seq)
    throw new ReentryError('NATS_UNAVAILABLE', `the stream of requests does not show message ${String(seq)}`, {
      transient: true,
    });
  return first.seq === seq;
}

async function newRun(parts: IntakeParts, intake: Intake): Promise<Proposal> {
  const { run, queue, delivery } = intake;
  const startedAtMs = parts.broker.now();
  const { draft, traceparent } = await firstState(parts, intake);
  // An invalid header must not fail the run.
  const given = TRACEPARENT.test(delivery.traceparent ?? '') ? delivery.traceparent : undefined;
  const span = parts.tracer.start(SPANS.intake, {
    parent: given ?? traceparent,
    attributes: attributesOf(run, draft),
    startedAtMs,
  });
  return {
    on: 'request',
    draft: span.traceparent === undefined ? draft : { ...draft, trace: span.traceparent },
    stored: ({ phase, outcome }) => {
      span.end();
      audit(parts.log, {
        ...{ audit: 'submit', via: 'subject', run, queue, outcome: phase === 'Failed' ? 'refused' : 'accepted' },
        problems: outcome?.diagnosis?.problems?.map(({ path }) => path),
      });
    },
  };
}

/** The run's first state, and the trace context that the request names. */
async function firstState(
  parts: IntakeParts,
  { queue, delivery, run, badSubject, giveUp }: Intake,
): Promise<{ readonly draft: Draft; readonly traceparent?: string | undefined }> {
  const { broker, known, id } = parts;
  const fence = { stream: delivery.stream, seq: delivery.seq, epoch: 1, by: id };
  const facts = { queue, fence, now: broker.now() };
  const refusal = (why: Diagnosis) => ({
    draft: refused(why, { ...facts, operator: 'unknown', requestHash: '' }),
  });
  if (badSubject !== undefined)
    return refusal(diagnosisOf('INVALID_REQUEST', { problems: [{ path: '$', message: badSubject }] }));
  if (giveUp !== undefined) {
    const why = diagnosisOf('DEAD_LETTERED', { message: giveUp });
    await deadLetter(parts, 'run', run, delivery, why);
    return refusal(why);
  }
  const read = readRequest(parts, delivery.data, run);
  if (read.kind === 'refused') return refusal(diagnosisOf('INVALID_REQUEST', { problems: read.problems }));
  // From now on, no process that saw the request without a run deletes it.
  const stored = await broker.requests.claim(run, read.request);
  // One stored before is the run's: an intake of this message whose worker died before it wrote the state, or `submit` of an earlier release.
  const request = stored.kind === 'exists' ? storedRequestSchema.parse(stored.request) : read.request;
  const requestHash = hashOf(request);
  if (stored.kind === 'created') known.put(run, { requestHash }, { request, params: read.params });
  return { draft: accepted(request, { ...facts, requestHash }), traceparent: request.traceparent };
}

/** Characters that the key of a bucket may have besides those of a canonical token. */
const KEY_TOKEN = /^[-=\w]{1,200}$/;

/** The run that a request is addressed to. Where a token is not canonical, the run is named by the raw token and can only be refused. */
function addressed({ tenantToken, runIdToken }: Delivery): {
  readonly run: RunKey;
  readonly badSubject: string | undefined;
} {
  const run = runOfTokens(tenantToken, runIdToken);
  if (run !== undefined) return { run, badSubject: undefined };
  const badSubject = `${dec(tenantToken) === undefined ? 'the tenant' : 'the run id'} in the subject is not a canonical token: [A-Za-z0-9_-] as it is, every other UTF-8 byte as =HH (upper case), at most 128 characters`;
  return {
    run: { tenant: tenantToken, runId: runIdToken, tokens: `${keyToken(tenantToken)}.${keyToken(runIdToken)}` },
    badSubject,
  };
}

/** A raw token that can be part of a key, or its digest. */
function keyToken(raw: string): string {
  return KEY_TOKEN.test(raw) ? raw : `raw-${createHash('sha256').update(raw).digest('hex').slice(0, 32)}`;
}
