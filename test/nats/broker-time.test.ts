import { describe, expect, test } from 'vitest';
import { brokerTime } from '../../src/nats/broker-time.ts';
import { connectNats } from '../../src/nats/connection.ts';
import { linkOf } from '../../src/nats/link.ts';
import { anInstallation, sharedNatsServer } from '../support/nats-server.ts';

const { url } = sharedNatsServer();

describe('brokerTime', () => {
  test('follows the broker, and does not jump with this machine’s wall clock', async () => {
    await using installation = await anInstallation(url());
    const options = { ...installation.options, role: 'worker', name: 'clock' } as const;
    await using connection = await connectNats(options);
    const abort = new AbortController();
    let wrongBy = 3_600_000;
    const clocks = { wall: () => Date.now() + wrongBy, steady: () => performance.now() };
    const time = await brokerTime(await linkOf(connection, options), abort.signal, clocks);
    // Broker and test share a clock; half a second is what a busy machine may put between two readings.
    expect(Math.abs(time.now() - Date.now())).toBeLessThan(500);
    expect(Math.abs(time.offsetMs() + wrongBy)).toBeLessThan(500);
    wrongBy = -86_400_000;
    expect(Math.abs(time.now() - Date.now())).toBeLessThan(500);
    expect(Math.abs(time.offsetMs() + wrongBy)).toBeLessThan(500);
    abort.abort();
  });

  test('is late after a suspension of the machine, and corrects itself', async () => {
    await using installation = await anInstallation(url());
    const options = { ...installation.options, role: 'worker', name: 'clock' } as const;
    await using connection = await connectNats(options);
    const abort = new AbortController();
    let lostMs = 0;
    const clocks = { wall: () => Date.now(), steady: () => performance.now() - lostMs };
    const time = await brokerTime(await linkOf(connection, options), abort.signal, clocks);
    lostMs = 60_000;
    expect(time.now()).toBeLessThan(Date.now() - 59_000);
    await expect.poll(() => Math.abs(time.now() - Date.now()), { timeout: 10_000 }).toBeLessThan(500);
    abort.abort();
  });
});
