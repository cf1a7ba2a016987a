/** What a role verifies before it starts: streams and buckets. Missing ones end the process with what to do. */
import { firstValueFrom, merge, timer } from 'rxjs';
import type { Observable } from 'rxjs';
import { backOffMs } from '../core/back-off.ts';
import { ReentryError } from '../errors.ts';
import type { Log } from '../ports/ambient.ts';
import type { Broker } from '../ports/broker.ts';

const RETRY_MIN_MS = 250;
const RETRY_MAX_MS = 5_000;

/**
 * Checks the streams and buckets, until the broker answers or `stop$` emits.
 * @throws ReentryError NATS_MISMATCH when `reentry setup` is needed
 */
export async function checkStart(
  broker: Broker,
  { log, stop$ }: { readonly log: Log; readonly stop$: Observable<unknown> },
): Promise<void> {
  await withRetry(() => checkStreams(broker), log, stop$);
}

async function checkStreams(broker: Broker): Promise<void> {
  try {
    await broker.fill();
  } catch (cause) {
    if (cause instanceof ReentryError && cause.transient) throw cause;
    throw new ReentryError('NATS_MISMATCH', 'streams or buckets are missing on the NATS server; run `reentry setup`', {
      transient: false,
      cause,
    });
  }
}

/** Retries transient failures, such as a broker that is electing a leader: exiting would only cause a crash loop. */
async function withRetry(check: () => Promise<void>, log: Log, stop$: Observable<unknown>): Promise<void> {
  for (let failures = 1; ; failures += 1) {
    try {
      await check();
      return;
    } catch (error) {
      if (!(error instanceof ReentryError) || !error.transient) throw error;
      const pauseMs = backOffMs(failures, RETRY_MIN_MS, RETRY_MAX_MS);
      log.warn({ code: error.code, retryInMs: pauseMs }, `start-up check failed: ${error.message}; retrying`);
      if ((await firstValueFrom(merge(timer(pauseMs), stop$), { defaultValue: 0 })) !== 0) return;
    }
  }
}
