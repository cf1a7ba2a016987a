import { from } from 'rxjs';
import { expect, suite, test, vi } from 'vitest';
import type { Log, Meter } from '../../src/ports/ambient.ts';
import type { Firing, TriggerMessage } from '../../src/trigger/firing.ts';
import { published$, type TriggerPublisher } from '../../src/trigger/publish.ts';
import { aPod } from '../support/builders.ts';

const nothing = (): void => undefined;
const log: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing, child: () => log };
const meter: Meter = { count: nothing, gauge: nothing, observeSeconds: nothing };

function aFiring(runId: string, n: number): Firing {
  const event = { kind: 'success', at: 0 } as const;
  const message = { v: 1, attempt: 1, step: 0, stateRev: 1, subRev: 1, event };
  const run = { tenant: 'default', runId };
  return {
    kind: 'fire',
    run,
    queue: 'default',
    id: `${runId}:${n}`,
    event,
    revision: 1,
    step: { lane: 'resume', message },
  };
}

/** A broker whose answers the test sends. */
function aBroker() {
  const published: string[] = [];
  const open: { readonly id: string; readonly answer: (error?: Error) => void }[] = [];
  const store = (id: string): Promise<void> =>
    new Promise((resolve, reject) => {
      published.push(id);
      open.push({
        id,
        answer: (error) => {
          if (error === undefined) resolve();
          else reject(error);
        },
      });
    });
  const publish: TriggerPublisher = {
    start: (_run, _queue, _message, id) => store(id),
    resume: (_run, _queue, _message, id) => store(id),
    ctl: (_run, _queue, _message, id) => store(id),
  };
  return { publish, published, open };
}

suite('published$', () => {
  test('obeys its credits, sends only the last event of each run, and ends when all are sent', async () => {
    const { publish, published, open } = aBroker();
    const messages: readonly TriggerMessage[] = [
      aFiring('a', 1),
      aFiring('b', 1),
      aFiring('c', 1),
      aFiring('c', 2),
      aFiring('d', 1),
      aFiring('c', 3),
    ];
    let isDone = false;
    published$(from(messages), { publish, failed: nothing, now: () => 0, log, meter, credits: 2 }).subscribe({
      complete: () => {
        isDone = true;
      },
    });
    expect(published).toEqual(['a:1', 'b:1']);
    open.shift()?.answer();
    await vi.waitFor(() => {
      expect(published).toEqual(['a:1', 'b:1', 'c:3']);
    });
    open.shift()?.answer();
    await vi.waitFor(() => {
      expect(published).toEqual(['a:1', 'b:1', 'c:3', 'd:1']);
    });
    expect(isDone).toBe(false);
    for (const { answer } of open) answer();
    await vi.waitFor(() => {
      expect(isDone).toBe(true);
    });
  });

  test('an event that is refused is reported as failed, and the rest goes on', async () => {
    const { publish, published, open } = aBroker();
    const failed = vi.fn<(firing: Firing, now: number) => void>();
    const messages$ = from([aFiring('a', 1), aFiring('b', 1)]);
    published$(messages$, { publish, failed, now: () => 5, log, meter, credits: 1 }).subscribe();
    open.shift()?.answer(new Error('no responders'));
    await vi.waitFor(() => {
      expect(published).toEqual(['a:1', 'b:1']);
    });
    expect(failed).toHaveBeenCalledExactlyOnceWith(aFiring('a', 1), 5);
  });

  test('an orphan is reported on the lane that carries no step', () => {
    const { publish, published } = aBroker();
    const ctl = vi.spyOn(publish, 'ctl');
    const pod = aPod();
    const orphan: TriggerMessage = {
      kind: 'orphan',
      run: { tenant: 'default', runId: 'r1' },
      queue: 'big',
      id: 'orphan:u1:0',
      pod,
    };
    published$(from([orphan]), { publish, failed: nothing, now: () => 0, log, meter }).subscribe();
    expect(published).toEqual(['orphan:u1:0']);
    expect(ctl.mock.calls[0]?.[1]).toBe('big');
    expect(ctl.mock.calls[0]?.[2]).toMatchObject({ kind: 'orphan', pod: { uid: 'u1' } });
  });
});
