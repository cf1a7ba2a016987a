/** Checks of `doctor` at the broker: version, durability, drift of streams, live roles, paused queues. */
import { streamSettings } from '../process/settings.ts';
import { z } from 'zod';
import type { Config } from '../config.ts';
import { ReentryError } from '../errors.ts';
import type { Broker } from '../ports/broker.ts';
import { MAX_REQUEST_BYTES } from '../wire/run-request.ts';
import type { RolePresence } from '../wire/presence.ts';
import { natsOptions } from '../process/connections.ts';

/** Result of one check. */
export interface Finding {
  /** What was checked. */
  readonly what: string;
  readonly state: 'ok' | 'warning' | 'broken';
  readonly detail: string;
}

/** Clocks that differ from the broker's by more than this make deadlines look early or late. */
export const CLOCK_WARNING_MS = 250;
/** A watch without an event or bookmark for this long is broken. */
const WATCH_WARNING_MS = 120_000;
/** Roles answer from memory, so this is ample. */
const ROLES_WITHIN_MS = 1_000;
/** Time-out of a request to the monitoring port. */
const MONITOR_WITHIN_MS = 5_000;
/** Room for a request and its headers. */
const MIN_PAYLOAD_BYTES = 2 * MAX_REQUEST_BYTES;

const ok = (what: string, detail: string): Finding => ({ what, state: 'ok', detail });
const warning = (what: string, detail: string): Finding => ({ what, state: 'warning', detail });
const broken = (what: string, detail: string): Finding => ({ what, state: 'broken', detail });

/** Checks the server's version and limits, its durability, and whether its streams are as `setup` makes them. */
export async function serverFindings(config: Config, monitor: string | undefined): Promise<readonly Finding[]> {
  const [{ inspect }, { isAtLeast, MIN_SERVER_VERSION }] = await Promise.all([
    import('../nats/inspection.ts'),
    import('../nats/setup.ts'),
  ]);
  const options = { ...natsOptions(config), name: `reentry-doctor-${String(process.pid)}`, role: 'worker' } as const;
  try {
    const seen = await inspect(options, streamSettings(config));
    const { version, maxPayloadBytes, servers, replicas } = seen;
    return [
      isAtLeast(version, MIN_SERVER_VERSION)
        ? ok('nats-server', `${version}, ${String(servers)} in its cluster`)
        : broken(
            'nats-server',
            `${version} is too old: versions before ${MIN_SERVER_VERSION} can lose streams or accept conflicting writes`,
          ),
      maxPayloadBytes < MIN_PAYLOAD_BYTES
        ? broken(
            'max_payload',
            `${String(maxPayloadBytes)} bytes; requests and logs need at least ${String(MIN_PAYLOAD_BYTES)}`,
          )
        : ok('max_payload', `${String(maxPayloadBytes)} bytes`),
      await durability(replicas, monitor),
      ...(seen.drift.length === 0
        ? [ok('streams', 'as setup makes them')]
        : seen.drift.map(({ name, difference: problem }) =>
            broken(`stream ${name}`, `${problem}; run \`reentry setup\``),
          )),
    ];
  } catch (error) {
    if (!(error instanceof ReentryError)) throw error;
    if (error.code === 'FORBIDDEN')
      return [warning('streams', 'not checked: these credentials may not read them; use those of setup')];
    return [broken('streams', error.message)];
  }
}

const varzSchema = z.looseObject({
  jetstream: z.looseObject({
    config: z.looseObject({ sync_interval: z.number().optional(), sync_always: z.boolean().optional() }).optional(),
  }),
});

async function durability(replicas: number, monitor: string | undefined): Promise<Finding> {
  const what = 'durability';
  const copies = replicas === 1 ? '1 copy of each stream' : `${String(replicas)} copies of each stream`;
  if (monitor === undefined)
    return replicas > 1
      ? ok(what, `${copies}; --monitor URL also shows sync_interval`)
      : warning(
          what,
          `${copies}: acknowledged messages survive a restart but not the loss of the disk; a power loss can lose those not yet synced (sync_interval, 2 min by default; --monitor URL shows it)`,
        );
  let config: z.infer<typeof varzSchema>['jetstream']['config'];
  try {
    const answer = await fetch(new URL('/varz', monitor), { signal: AbortSignal.timeout(MONITOR_WITHIN_MS) });
    config = varzSchema.parse(await answer.json()).jetstream.config;
  } catch (error) {
    return warning(
      what,
      `${copies}; cannot read ${monitor}: ${error instanceof Error ? (error.message.split('\n')[0] ?? '') : ''}`,
    );
  }
  const seconds = (config?.sync_interval ?? 0) / 1e9;
  const synced = config?.sync_always === true ? 'every write is synced' : `synced every ${String(seconds)} s`;
  return replicas > 1 || config?.sync_always === true
    ? ok(what, `${copies}, ${synced}`)
    : warning(
        what,
        `${copies}, ${synced}: a power loss can lose acknowledged runs; set sync_interval: always, or use three replicas`,
      );
}

/** Checks which roles are running, their versions and problems, and which queues are paused. */
export async function roleFindings(config: Config, version: string): Promise<readonly Finding[]> {
  const { openBroker } = await import('../nats/broker.ts');
  const name = `reentry-doctor-${String(process.pid)}`;
  await using broker = await openBroker({ ...natsOptions(config), name, role: 'worker' });
  const roles = await broker.queries.roles(ROLES_WITHIN_MS);
  return [
    ...presence('workers', 'worker', roles, version),
    ...presence('triggerers', 'triggerer', roles, version),
    ...(await paused(broker, config)),
  ];
}

function presence(what: string, role: string, roles: readonly RolePresence[], version: string): readonly Finding[] {
  const members = roles.filter((one) => one.role === role);
  if (members.length === 0) return [broken(what, `none is running; start one with \`reentry ${role}\``)];
  const versions = [...new Set(members.map((one) => one.version).filter((one) => one !== ''))];
  const known = versions.length === 0 ? '' : `, version ${versions.join(' and ')}`;
  const odd = members.flatMap(({ id, clockOffsetMs = 0, watchAgeMs = 0, problems }) => [
    ...(Math.abs(clockOffsetMs) > CLOCK_WARNING_MS
      ? [`${id}: its clock differs from the broker's by ${clockOffsetMs.toFixed(0)} ms`]
      : []),
    ...(watchAgeMs > WATCH_WARNING_MS
      ? [`${id}: its oldest watch received nothing for ${(watchAgeMs / 1_000).toFixed(0)} s`]
      : []),
    ...problems.map((problem) => `${id}: ${problem}`),
  ]);
  const ages = members.flatMap(({ watchAgeMs }) => (watchAgeMs === undefined ? [] : [watchAgeMs]));
  const age = ages.length === 0 ? '' : `, watches at most ${(Math.max(...ages) / 1_000).toFixed(1)} s old`;
  return [
    ok(what, `${String(members.length)} running${known}${age}`),
    ...(versions.some((one) => one !== version)
      ? [
          warning(
            what,
            `version ${versions.join(', ')} differs from this program's ${version}; fine during an upgrade by one version`,
          ),
        ]
      : []),
    ...odd.map((detail) => warning(what, detail)),
  ];
}

async function paused(broker: Broker, config: Config): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  for (const queue of [...config.queues, ...config.executorQueues]) {
    const record = (await broker.gates.queue(queue))?.value;
    if (record?.paused !== true) continue;
    const why = record.reason === undefined ? '' : `: ${record.reason}`;
    findings.push(
      warning(
        `queue ${queue}`,
        `paused since ${new Date(record.at).toISOString()}${why}; \`reentry queue resume ${queue}\``,
      ),
    );
  }
  return findings;
}
