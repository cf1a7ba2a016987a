/** What a role verifies before it starts: streams and permissions. A missing one ends the process with what to do. */
import { firstValueFrom, merge, timer } from 'rxjs';
import type { Observable } from 'rxjs';
import { backOffMs } from '../core/back-off.ts';
import { accessText, CLUSTER_ACCESS } from '../core/rbac.ts';
import { ReentryError } from '../errors.ts';
import type { Log } from '../ports/ambient.ts';
import type { Broker } from '../ports/broker.ts';
import type { Cluster, Clusters } from '../ports/cluster.ts';
import type { Role } from './roles.ts';

const RETRY_MIN_MS = 250;
const RETRY_MAX_MS = 5_000;

/**
 * Checks the broker and every cluster, each until it answers or `stop$` emits.
 * @throws ReentryError NATS_MISMATCH when `reentry setup` is needed; FORBIDDEN naming every missing permission
 */
export async function checkStart(
  role: Role,
  { broker, clusters }: { readonly broker: Broker; readonly clusters: Clusters },
  namespaces: readonly string[] | undefined,
  { log, stop$ }: { readonly log: Log; readonly stop$: Observable<unknown> },
): Promise<void> {
  await withRetry(() => checkStreams(broker), log, stop$);
  for (const connection of clusters.names)
    await withRetry(() => checkPermissions(role, clusters.get(connection), namespaces, log), log, stop$);
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

async function checkPermissions(
  role: Role,
  cluster: Cluster,
  namespaces: readonly string[] | undefined,
  log: Log,
): Promise<void> {
  const { connection } = cluster;
  const wanted = (namespaces ?? [undefined]).flatMap((namespace) =>
    CLUSTER_ACCESS[role].map((access) => ({ ...access, ...(namespace === undefined ? {} : { namespace }) })),
  );
  const lacking = new Set(await cluster.missingPermissions(wanted));
  const optional = wanted.filter((access) => access.onlyFor === 'results').map(accessText);
  const missing = [...lacking].filter((text) => !optional.includes(text));
  if (missing.length < lacking.size)
    log.warn(
      { connection, missing: [...lacking] },
      'no permission to read results from sidecars; only xcomMode message works',
    );
  if (missing.length === 0) return;
  const where = namespaces === undefined ? 'in all namespaces' : `in ${namespaces.join(', ')}`;
  throw new ReentryError(
    'FORBIDDEN',
    `connection ${connection} lacks permissions ${where} that a ${role} needs: ${missing.join(', ')}; grant them by a Role or ClusterRole, or list fewer namespaces in REENTRY_NAMESPACES`,
    { transient: false },
  );
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
