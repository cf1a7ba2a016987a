import { Subject } from 'rxjs';
import type { Observable } from 'rxjs';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { nakDelayMs } from '../../src/nats/work-queues.ts';
import type { Broker, Delivery } from '../../src/ports/broker.ts';
import { aNatsServer, anInstallation, sharedNatsServer } from '../support/nats-server.ts';
import type { Installation } from '../support/nats-server.ts';

const { url } = sharedNatsServer();
const start = { v: 1, attempt: 1 };

/** Work that runs until `stop`; `done` resolves when all it had begun is done. */
function running(work$: (stop$: Observable<unknown>) => Observable<never>) {
  const stop$ = new Subject<void>();
  const done = new Promise<void>((resolve, reject) => {
    work$(stop$).subscribe({ complete: resolve, error: reject });
  });
  return {
    done,
    stop: async () => {
      stop$.next();
      await done;
    },
  };
}

const open: { stop: () => Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map(({ stop }) => stop()));
});

function taking(broker: Broker, credits: number, handle: (delivery: Delivery) => Promise<void>) {
  const work = running((stop$) => broker.queues.steps$('default', 'start', credits, handle, stop$));
  open.push(work);
  return work;
}

async function aQueue(messages: number): Promise<{ readonly installation: Installation; readonly broker: Broker }> {
  const installation = await anInstallation(url());
  const broker = await installation.broker();
  for (let n = 0; n < messages; n += 1)
    await broker.publish.start({ tenant: 't', runId: `r${n}` }, 'default', start, `start:r${n}`);
  return { installation, broker };
}

describe('work queues', () => {
  test('each message is delivered once, with its run, its sequence and its time', async () => {
    const { installation: made, broker } = await aQueue(20);
    await using installation = made;
    const got: Delivery[] = [];
    taking(broker, 4, async (delivery) => {
      got.push(delivery);
      await delivery.ack();
    });
    await expect.poll(() => got.length).toBe(20);
    expect(got.map(({ runIdToken }) => runIdToken).sort()).toEqual(
      Array.from({ length: 20 }, (_, n) => `r${n}`).sort(),
    );
    expect(got[0]).toMatchObject({
      tenantToken: 't',
      deliveries: 1,
      stream: `${installation.options.assetPrefix}STEPS`,
    });
    expect(Math.abs((got[0]?.publishedAt ?? 0) - broker.now())).toBeLessThan(60_000);
  });

  test('no more messages are held than there are credits, and all are delivered in the end', async () => {
    const { installation: made, broker } = await aQueue(30);
    await using installation = made;
    let held = 0;
    let most = 0;
    let finished = 0;
    taking(broker, 3, async (delivery) => {
      held += 1;
      most = Math.max(most, held);
      await broker.runs.read({ tenant: 't', runId: delivery.runIdToken });
      held -= 1;
      finished += 1;
      await delivery.ack();
    });
    await expect.poll(() => finished).toBe(30);
    expect(most).toBe(3);
  });

  test('a full worker leaves messages to another', async () => {
    const { installation: made, broker } = await aQueue(6);
    await using installation = made;
    const release$ = new Subject<void>();
    const first: Delivery[] = [];
    const second: string[] = [];
    taking(broker, 2, async (delivery) => {
      first.push(delivery);
      await new Promise<void>((resolve) =>
        release$.subscribe(() => {
          resolve();
        }),
      );
      await delivery.ack();
    });
    await expect.poll(() => first.length).toBe(2);
    taking(await installation.broker('worker', 'sibling'), 2, async (delivery) => {
      second.push(delivery.runIdToken);
      await delivery.ack();
    });
    await expect.poll(() => second.length).toBe(4);
    expect(first).toHaveLength(2);
    release$.next();
  });

  test('nak redelivers a message after its delay, a rejection after a back-off', async () => {
    const { installation: made, broker } = await aQueue(1);
    await using installation = made;
    const deliveries: number[] = [];
    taking(broker, 1, async (delivery) => {
      deliveries.push(delivery.deliveries);
      if (delivery.deliveries === 1) await delivery.nak(50);
      else if (delivery.deliveries === 2) throw new Error('transient');
      else await delivery.ack();
    });
    await expect.poll(() => deliveries, { timeout: 10_000 }).toEqual([1, 2, 3]);
  });

  test('an abandoned message is redelivered after the ack wait', async () => {
    const { installation: made, broker } = await aQueue(1);
    await using installation = made;
    const deliveries: number[] = [];
    taking(broker, 1, async (delivery) => {
      deliveries.push(delivery.deliveries);
      if (delivery.deliveries === 1) delivery.abandon();
      else await delivery.ack();
    });
    await expect.poll(() => deliveries, { timeout: 20_000 }).toEqual([1, 2]);
  });

  test('a message in work is not redelivered after the ack wait', async () => {
    const { installation: made, broker } = await aQueue(1);
    await using installation = made;
    const given = vi.fn();
    const release$ = new Subject<void>();
    const hold = async (delivery: Delivery) => {
      given();
      await new Promise<void>((resolve) =>
        release$.subscribe(() => {
          resolve();
        }),
      );
      await delivery.ack();
    };
    taking(broker, 1, hold);
    taking(await installation.broker('worker', 'sibling'), 1, hold);
    const startedAt = Date.now();
    await expect.poll(() => Date.now() - startedAt, { timeout: 15_000 }).toBeGreaterThan(12_000);
    expect(given).toHaveBeenCalledTimes(1);
    release$.next();
  });

  test('stop takes no new message, waits for those in work, and leaves the rest to others', async () => {
    const { installation: made, broker } = await aQueue(10);
    await using installation = made;
    const begun: string[] = [];
    const finished: string[] = [];
    const release$ = new Subject<void>();
    const work = taking(broker, 2, async (delivery) => {
      begun.push(delivery.runIdToken);
      await new Promise<void>((resolve) =>
        release$.subscribe(() => {
          resolve();
        }),
      );
      finished.push(delivery.runIdToken);
      await delivery.ack();
    });
    await expect.poll(() => begun.length).toBe(2);
    const stopped = work.stop();
    release$.next();
    await stopped;
    expect(finished).toEqual(begun);
    const rest: string[] = [];
    taking(await installation.broker('worker', 'sibling'), 4, async (delivery) => {
      rest.push(delivery.runIdToken);
      await delivery.ack();
    });
    await expect.poll(() => rest.length).toBe(8);
    expect(rest.filter((runId) => begun.includes(runId))).toEqual([]);
  });

  test('a full lane does not block another', async () => {
    const { installation: made, broker } = await aQueue(5);
    await using installation = made;
    const release$ = new Subject<void>();
    taking(broker, 1, async (delivery) => {
      await new Promise<void>((resolve) =>
        release$.subscribe(() => {
          resolve();
        }),
      );
      await delivery.ack();
    });
    const asked: string[] = [];
    open.push(
      running((stop$) =>
        broker.queues.steps$(
          'default',
          'ctl',
          1,
          async (delivery) => {
            asked.push(delivery.runIdToken);
            await delivery.ack();
          },
          stop$,
        ),
      ),
    );
    await broker.publish.ctl({ tenant: 't', runId: 'r0' }, 'default', { v: 1, kind: 'cancel' }, 'ctl:1');
    await expect.poll(() => asked).toEqual(['r0']);
    release$.next();
    release$.complete();
  });

  test('the queue continues after a kill -9 of the broker, and loses no message', async () => {
    await using server = await aNatsServer();
    await using installation = await anInstallation(server.url);
    const broker = await installation.broker();
    const seen = new Set<string>();
    const work = running((stop$) =>
      broker.queues.steps$(
        'default',
        'start',
        4,
        async (delivery) => {
          seen.add(delivery.runIdToken);
          await delivery.ack();
        },
        stop$,
      ),
    );
    const publishing = (async () => {
      for (let n = 0; n < 300; n += 1)
        await broker.publish.start({ tenant: 't', runId: `r${n}` }, 'default', start, `start:r${n}`);
    })();
    await expect.poll(() => seen.size).toBeGreaterThan(20);
    await server.crash();
    await publishing;
    await expect.poll(() => seen.size, { timeout: 20_000 }).toBe(300);
    await work.stop();
  });

  test('a missing consumer does not keep a worker from stopping; an unknown queue is named', async () => {
    await using installation = await anInstallation(url(), { workerQueues: [] });
    const broker = await installation.broker();
    const work = running((stop$) =>
      broker.queues.steps$('none', 'start', 1, async (delivery) => delivery.ack(), stop$),
    );
    await expect(
      broker.publish.run({ tenant: 't', runId: 'r' }, 'default', new Uint8Array(1), 'run:r'),
    ).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    await work.stop();
  }, 30_000);

  test('back-off doubles from a second to a minute', () => {
    expect([1, 2, 3, 7, 100].map(nakDelayMs)).toEqual([1_000, 2_000, 4_000, 60_000, 60_000]);
  });
});
