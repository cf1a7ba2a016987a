import { judge, judgeAbsence } from '../../src/core/pod/judge.ts';
import type { Broker } from '../../src/ports/broker.ts';
import type { Subscription } from '../../src/wire/triggers.ts';
import { keys, type RunKey } from '../../src/wire/subjects.ts';
import { Queues } from '../../src/queue/queues.ts';
import type { SimulatedPods } from './simulated-pods.ts';

/** Publishes the trigger events that the simulated pods imply, repeatedly: a triggerer without watch, ownership or back-off. */
export function levelTriggers(
  broker: Broker,
  simulated: SimulatedPods,
  settings: { readonly everyMs: number; readonly refireMs: number },
): Disposable & { readonly fired: () => number; readonly waiting: () => number } {
  interface Waiting {
    readonly run: RunKey;
    readonly subscription: Subscription;
    readonly revision: number;
    readonly since: number;
    firedAt: number;
    n: number;
  }
  const waiting = new Map<string, Waiting>();
  const queues = new Queues();
  let fired = 0;
  const changes = broker.subscriptions.changes$('simulated').subscribe((change) => {
    if (change.kind === 'synced') {
      queues.complete(broker.now());
      return;
    }
    if (change.kind === 'queue' || change.kind === 'concurrencySlots') {
      queues.gate(change, broker.now());
      return;
    }
    if (change.kind === 'alive') return;
    const key = keys.run(change.run);
    if (change.kind === 'deleted') {
      waiting.delete(key);
      queues.remove(key, broker.now());
    } else {
      queues.put(key, change.run, change.subscription, broker.now());
      waiting.set(key, {
        run: change.run,
        subscription: change.subscription,
        revision: change.revision,
        since: broker.now(),
        firedAt: 0,
        n: 0,
      });
    }
  });
  const look = () => {
    const now = broker.now();
    queues.due(now);
    for (const entry of waiting.values()) {
      const { run, subscription, revision } = entry;
      if (now - entry.firedAt < settings.refireMs) continue;
      const { pod: ref, await: wait } = subscription;
      const seen = ref === undefined ? undefined : simulated.look(ref.uid, ref.name, now);
      let judgement =
        ref !== undefined && seen?.there === false
          ? judgeAbsence(subscription, seen.pod, now)
          : judge(subscription, seen?.pod, now, queues.admits(keys.run(run)));
      if (
        judgement.kind === 'wait' &&
        wait.loggingEveryMs !== undefined &&
        now - entry.since >= wait.loggingEveryMs &&
        entry.n === 0
      )
        judgement = { kind: 'fire', event: { kind: 'running', at: now } };
      if (judgement.kind === 'wait') continue;
      const { event } = judgement;
      entry.firedAt = now;
      entry.n += 1;
      fired += 1;
      const { queue, attempt, step, stateRev, then } = subscription;
      const id = `fire:${keys.run(run)}:${step}:${entry.n}:${Math.random()}`;
      const expired = event.kind === 'timeout' && event.reason === 'EXPIRED';
      const sent =
        then === 'start' && !expired
          ? broker.publish.start(run, queue, { v: 1, attempt, stateRev }, id)
          : broker.publish.resume(run, queue, { v: 1, attempt, step, stateRev, subRev: revision, event }, id);
      // The broker is down: the event is published in the next round.
      sent.catch(() => (entry.firedAt = 0));
    }
  };
  const timer = setInterval(look, settings.everyMs);
  return {
    fired: () => fired,
    waiting: () => waiting.size,
    [Symbol.dispose]() {
      clearInterval(timer);
      changes.unsubscribe();
    },
  };
}
