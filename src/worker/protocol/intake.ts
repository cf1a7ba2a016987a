import { createHash } from 'node:crypto';
import { diagnosisOf } from '../../core/run/diagnosis.ts';
import { decide } from '../../core/run/transitions.ts';
import { accepted, refused } from '../../core/run/state-changes.ts';
import type { Delivery } from '../../ports/broker.ts';
import { storedRequestSchema } from '../../wire/run-request.ts';
import type { Diagnosis } from '../../wire/outcome.ts';
import type { RunKey } from '../../wire/subjects.ts';
import { dec } from '../../wire/tokens.ts';
import type { Engine, Settled } from './engine.ts';
import { traceparentIn } from '../../core/trace-context.ts';
import { attributesOf, SPANS } from './tracing.ts';
import { audit } from '../services/audit.ts';
import { deadLetter } from './dead-letters.ts';
import { ACK } from './engine.ts';
import { settled } from './settle.ts';
import { writeOver } from './store.ts';
import { owe } from './announce.ts';
import { countEnd } from './stop.ts';
import { hashOf, readRequest } from '../services/validate.ts';

/** The handler of a queue's run requests. The state is looked at before the request is parsed: a bad duplicate changes nothing. */
export function intakeHandler(engine: Engine, queue: string): (delivery: Delivery) => Promise<void> {
  return async (delivery) => {
    const { run, problem } = addressed(delivery);
    await settled(engine, 'intake', run, delivery, (diedTooOften) =>
      onRequest(engine, queue, delivery, run, problem, diedTooOften),
    );
  };
}

async function onRequest(
  engine: Engine,
  queue: string,
  delivery: Delivery,
  run: RunKey,
  badToken: string | undefined,
  diedTooOften: boolean,
): Promise<Settled> {
  const { broker } = engine;
  let seen = await broker.runs.read(run, { leader: delivery.deliveries > 1 });
  for (;;) {
    const { action } = decide(seen?.value, { on: 'request' }, delivery, broker.now());
    if (seen !== undefined) {
      if (action === 'owe') await owe(engine, run, seen, 'request');
      else audit(engine.log, { audit: 'submit', via: 'subject', run, queue, outcome: 'duplicate' });
      return ACK;
    }
    const facts = {
      queue,
      fence: { stream: delivery.stream, seq: delivery.seq, epoch: 1, by: engine.id },
      now: broker.now(),
    };
    const refusal = (diagnosis: Diagnosis) => refused(diagnosis, { ...facts, operator: 'unknown', requestHash: '' });
    const begunAt = broker.now();
    let parent = traceparentIn(delivery.traceparent);
    const made = await (async () => {
      if (badToken !== undefined)
        return refusal(diagnosisOf('INVALID_REQUEST', { problems: [{ path: '$', message: badToken }] }));
      if (diedTooOften) {
        const diagnosis = diagnosisOf('DEAD_LETTERED', { message: 'its intake died again and again' });
        await deadLetter(engine, 'run', run, delivery, diagnosis);
        return refusal(diagnosis);
      }
      const read = readRequest(engine, delivery.data, run);
      if (read.kind === 'refused') return refusal(diagnosisOf('INVALID_REQUEST', { problems: read.problems }));
      // From now on nobody deletes it who has seen it without a run.
      const stored = await broker.requests.claim(run, read.request);
      // Stored by `submit`, or by an intake that died before it wrote the state: that one is the run's.
      const request = stored.kind === 'exists' ? storedRequestSchema.parse(stored.request) : read.request;
      const requestHash = hashOf(request);
      if (stored.kind === 'created') engine.known.put(run, { requestHash }, { request, params: read.params });
      parent ??= request.traceparent;
      return accepted(request, { ...facts, requestHash });
    })();
    const span = engine.tracer.start(SPANS.intake, {
      parent,
      attributes: attributesOf(run, made),
      startedAtMs: begunAt,
    });
    const draft = span.traceparent === undefined ? made : { ...made, trace: span.traceparent };
    const written = await writeOver(broker.runs, run, draft, 0);
    if (written.kind === 'lost') {
      if (written.seen === undefined) return { kind: 'nak', delayMs: 1_000 };
      seen = written.seen;
      continue;
    }
    const refusedNow = written.seen.value.phase === 'Failed';
    engine.meter.count(refusedNow ? 'runs_invalid_total' : 'runs_accepted_total', { queue });
    audit(engine.log, {
      ...{ audit: 'submit', via: 'subject', run, queue, outcome: refusedNow ? 'refused' : 'accepted' },
      problems: draft.outcome?.diagnosis?.problems?.map(({ path }) => path),
    });
    await owe(engine, run, written.seen, 'request');
    span.end();
    if (refusedNow) countEnd(engine, run, written.seen.value);
    return ACK;
  }
}

/** Characters that a bucket's key takes beside those of a canonical token. */
const KEY_TOKEN = /^[-=\w]{1,200}$/;

/** The run a request is addressed to. Where a token is not canonical, the run is that raw token and can only be refused. */
function addressed({ tenantToken, runIdToken }: Delivery): {
  readonly run: RunKey;
  readonly problem: string | undefined;
} {
  const tenant = dec(tenantToken);
  const runId = dec(runIdToken);
  if (tenant !== undefined && runId !== undefined) return { run: { tenant, runId }, problem: undefined };
  const problem = `${tenant === undefined ? 'the tenant' : 'the run id'} in the subject is not a canonical token: [A-Za-z0-9_-] as it is, every other UTF-8 byte as =HH (upper case), at most 128 characters`;
  return {
    run: { tenant: tenantToken, runId: runIdToken, tokens: `${keyToken(tenantToken)}.${keyToken(runIdToken)}` },
    problem,
  };
}

/** A raw token where a key can be made of it, else a digest that names it. */
function keyToken(raw: string): string {
  return KEY_TOKEN.test(raw) ? raw : `raw-${createHash('sha256').update(raw).digest('hex').slice(0, 32)}`;
}
