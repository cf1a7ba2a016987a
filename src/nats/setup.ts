/** Makes a server match the table of `wire/streams.ts`. Idempotent. */
import {
  AckPolicy,
  DeliverPolicy,
  DiscardPolicy,
  NatsError,
  ReplayPolicy,
  RetentionPolicy,
  StorageType,
  nanos,
} from 'nats';
import type { ConsumerConfig, ConsumerInfo, JetStreamManager, NatsConnection, StreamConfig, StreamInfo } from 'nats';
import { messageOf, ReentryError } from '../errors.ts';
import { DUPLICATE_WINDOW_SECONDS, FEED_NAME_PATTERN, streamTable } from '../wire/streams.ts';
import type { ConsumerSpec, Layout, StreamSettings, StreamSpec } from '../wire/streams.ts';
import { isTokenText, QUEUE_PATTERN } from '../wire/tokens.ts';
import { faultOf, natsError } from './errors.ts';

/** Oldest server supported. Older ones lose streams on a crash (2.10.20 to 22) or accept two compare-and-sets on a cluster. */
export const MIN_SERVER_VERSION = '2.10.23';

/** Whether version `a` is `b` or newer; suffixes such as `-RC.1` are ignored. */
export function isAtLeast(a: string, b: string): boolean {
  const numbers = (text: string) => text.replace(/^v/, '').split('-')[0]?.split('.').map(Number) ?? [];
  const [left, right] = [numbers(a), numbers(b)];
  for (let i = 0; i < 3; i += 1) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}

/** One asset, and what setup did with it. */
export interface SetupStep {
  readonly kind: 'stream' | 'consumer';
  readonly name: string;
  readonly did: 'created' | 'updated' | 'unchanged';
}

/** JetStream error codes that setup turns into advice. */
const SUBJECTS_OVERLAP = 10065;
const STORAGE_EXCEEDED = [10047, 10023, 10028];
const REPLICAS_IMPOSSIBLE = [10074, 10005];

/**
 * Creates what is missing, updates what may change, and compares the server's answer with the request: old servers drop unknown fields
 * silently. Queues and feeds that others added stay.
 * @throws ReentryError NATS_MISMATCH where the server is too old or an asset cannot be changed to match; CONFIG_INVALID for bad names
 */
export async function setup(
  nc: NatsConnection,
  layout: Layout,
  settings: StreamSettings,
): Promise<readonly SetupStep[]> {
  checkNames(settings);
  const version = nc.info?.version ?? '0';
  if (!isAtLeast(version, MIN_SERVER_VERSION))
    throw mismatch(`nats-server ${version} is too old; reentry needs ${MIN_SERVER_VERSION} or newer`);
  if (nc.info?.jetstream !== true)
    throw mismatch(
      'this nats-server (or account) has no JetStream; start it with --jetstream, or enable it for the account',
    );
  const jsm = await nc.jetstreamManager({ checkAPI: false, timeout: 10_000 });
  const table = streamTable(layout, settings);
  const steps: SetupStep[] = [];
  for (const spec of table.streams) steps.push({ kind: 'stream', name: spec.name, did: await stream(jsm, spec) });
  for (const spec of table.consumers) steps.push({ kind: 'consumer', name: spec.name, did: await consumer(jsm, spec) });
  return steps;
}

const mismatch = (message: string, cause?: unknown) =>
  new ReentryError('NATS_MISMATCH', message, { transient: false, cause });

function checkNames({ workerQueues, executorQueues, subscribers = [] }: StreamSettings) {
  const problems = [
    ...[...workerQueues, ...executorQueues]
      .filter((queue) => !QUEUE_PATTERN.test(queue))
      .map((queue) => ({ path: 'queues', message: `"${queue}" is not a queue name: 1 to 32 of A-Z a-z 0-9 _ -` })),
    ...workerQueues
      .filter((queue) => executorQueues.includes(queue))
      .map((queue) => ({ path: 'queues', message: `"${queue}" is both a worker queue and an executor queue` })),
    ...subscribers
      .filter(({ tenant, name }) => !isTokenText(tenant) || !FEED_NAME_PATTERN.test(name))
      .map(({ tenant, name }) => ({
        path: 'subscribers',
        message: `"${tenant}/${name}" is not a subscriber: tenant/name, the name 1 to 32 of A-Z a-z 0-9 -`,
      })),
  ];
  if (problems.length > 0)
    throw new ReentryError('CONFIG_INVALID', problems.map(({ message }) => message).join('; '), {
      transient: false,
      problems,
    });
}

function streamConfig(spec: StreamSpec, subjects: readonly string[]) {
  return {
    name: spec.name,
    description: spec.description,
    subjects: [...subjects],
    retention: spec.retention === 'workqueue' ? RetentionPolicy.Workqueue : RetentionPolicy.Limits,
    storage: StorageType.File,
    discard: spec.discard === 'new' ? DiscardPolicy.New : DiscardPolicy.Old,
    max_age: nanos((spec.maxAgeSeconds ?? 0) * 1000),
    max_bytes: spec.maxBytes,
    max_msgs: -1,
    max_msg_size: -1,
    max_msgs_per_subject: spec.maxMessagesPerSubject ?? -1,
    // The server refuses a window longer than the maximum age.
    duplicate_window: nanos(Math.min(DUPLICATE_WINDOW_SECONDS, spec.maxAgeSeconds ?? DUPLICATE_WINDOW_SECONDS) * 1000),
    num_replicas: spec.replicas,
    allow_direct: true,
    allow_rollup_hdrs: spec.rollup,
    deny_delete: false, // sweeping removes deletion markers by sequence
    deny_purge: false,
  } satisfies Partial<StreamConfig>;
}

/** Fields that the server refuses to change, or whose change would lose stored messages. */
const FIXED_STREAM_FIELDS = ['retention', 'storage'] as const;

async function stream(jsm: JetStreamManager, spec: StreamSpec): Promise<SetupStep['did']> {
  const present = await infoOf(() => jsm.streams.info(spec.name), spec.name);
  if (present === undefined) {
    const wanted = streamConfig(spec, spec.subjects);
    const made = await applied(spec.name, () => jsm.streams.add(wanted));
    verify(spec.name, wanted, made.config);
    return 'created';
  }
  const foreign = spec.keepsForeignSubjects
    ? present.config.subjects.filter((subject) => !spec.subjects.includes(subject))
    : [];
  const wanted = streamConfig(spec, [...spec.subjects, ...foreign].sort());
  const drift = differences(wanted, present.config);
  if (drift.length === 0) return 'unchanged';
  const fixed = drift.filter(({ field }) => FIXED_STREAM_FIELDS.some((name) => name === field));
  if (fixed.length > 0)
    throw mismatch(
      `stream ${spec.name} exists with ${describeDifferences(fixed)}, which cannot be changed; use another REENTRY_ASSET_PREFIX, or delete the stream when nothing in it is needed`,
    );
  // A limit below what is stored would make the server discard or refuse messages.
  if (wanted.max_bytes < present.state.bytes)
    throw mismatch(
      `stream ${spec.name} holds ${present.state.bytes} bytes and would get a limit of ${wanted.max_bytes}; raise the storage setting`,
    );
  const made = await applied(spec.name, () => jsm.streams.update(spec.name, wanted));
  verify(spec.name, wanted, made.config);
  return 'updated';
}

/** One asset that differs from what `setup` would create. */
export interface Drift {
  readonly name: string;
  readonly difference: string;
}

/** Fields that depend on the settings of `setup`, which the caller of `drift` may not know. */
const SETTING_FIELDS = ['max_bytes', 'max_age', 'num_replicas', 'duplicate_window', 'description'];

/** Compares the server with the table, without changes. `replicas`: of the stream that has the fewest. */
export async function drift(
  nc: NatsConnection,
  layout: Layout,
  settings: StreamSettings,
): Promise<{ readonly replicas: number; readonly found: readonly Drift[] }> {
  const jsm = await nc.jetstreamManager({ checkAPI: false, timeout: 10_000 });
  const table = streamTable(layout, settings);
  const found: Drift[] = [];
  let replicas = Infinity;
  const compare = (name: string, wanted: object, present: object) => {
    const off = differences(wanted, present).filter(({ field }) => !SETTING_FIELDS.includes(field));
    if (off.length > 0) found.push({ name, difference: describeDifferences(off) });
  };
  for (const spec of table.streams) {
    const present = await infoOf(() => jsm.streams.info(spec.name), spec.name);
    if (present === undefined) found.push({ name: spec.name, difference: 'is missing' });
    else {
      replicas = Math.min(replicas, present.config.num_replicas);
      const foreign = spec.keepsForeignSubjects ? present.config.subjects : [];
      compare(spec.name, streamConfig(spec, [...new Set([...spec.subjects, ...foreign])]), present.config);
    }
  }
  for (const spec of table.consumers) {
    const present = await infoOf(() => jsm.consumers.info(spec.stream, spec.name), spec.name);
    if (present === undefined) found.push({ name: spec.name, difference: 'is missing' });
    else compare(spec.name, consumerConfig(spec), present.config);
  }
  return { replicas: replicas === Infinity ? 0 : replicas, found };
}

function consumerConfig(spec: ConsumerSpec) {
  return {
    durable_name: spec.name,
    name: spec.name,
    description: spec.description,
    filter_subject: spec.filter,
    ack_policy: AckPolicy.Explicit,
    ack_wait: nanos(spec.ackWaitSeconds * 1000),
    // Workers decide when to give up; a message beyond `max_deliver` would stay in a work queue for ever.
    max_deliver: -1,
    deliver_policy: DeliverPolicy.All,
    replay_policy: ReplayPolicy.Instant,
    max_ack_pending: spec.maxAckPending,
    max_waiting: spec.maxWaiting,
    num_replicas: spec.replicas,
    metadata: { 'dev.reentry.kind': spec.kind },
  } satisfies Partial<ConsumerConfig>;
}

const FIXED_CONSUMER_FIELDS = ['ack_policy', 'deliver_policy', 'replay_policy', 'max_waiting'] as const;

async function consumer(jsm: JetStreamManager, spec: ConsumerSpec): Promise<SetupStep['did']> {
  const wanted = consumerConfig(spec);
  const present = await infoOf(() => jsm.consumers.info(spec.stream, spec.name), spec.name);
  if (present === undefined) {
    const made = await applied(spec.name, () => jsm.consumers.add(spec.stream, wanted));
    verify(spec.name, wanted, made.config);
    return 'created';
  }
  const drift = differences(wanted, present.config);
  if (drift.length === 0) return 'unchanged';
  const kind = present.config.metadata?.['dev.reentry.kind'];
  if (kind !== undefined && kind !== spec.kind)
    throw mismatch(
      `${spec.description}: the queue is served by a ${kind} and cannot become one of a ${spec.kind}; use another name`,
    );
  const fixed = drift.filter(({ field }) => FIXED_CONSUMER_FIELDS.some((name) => name === field));
  if (fixed.length > 0)
    throw mismatch(
      `consumer ${spec.name} of ${spec.stream} exists with ${describeDifferences(fixed)}, which cannot be changed; delete it and run setup again (no message is lost)`,
    );
  const made = await applied(spec.name, () => jsm.consumers.update(spec.stream, spec.name, wanted));
  verify(spec.name, wanted, made.config);
  return 'updated';
}

async function infoOf<T extends StreamInfo | ConsumerInfo>(
  read: () => Promise<T>,
  name: string,
): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (faultOf(error) === 'notFound') return undefined;
    throw natsError(`reading ${name}`, error);
  }
}

async function applied<T>(name: string, change: () => Promise<T>): Promise<T> {
  try {
    return await change();
  } catch (error) {
    const code = error instanceof NatsError ? error.api_error?.err_code : undefined;
    const message = messageOf(error);
    if (code === SUBJECTS_OVERLAP)
      throw mismatch(
        `${name}: another stream has some of its subjects; use another root or prefix, or remove that stream (${message})`,
        error,
      );
    if (code !== undefined && STORAGE_EXCEEDED.includes(code))
      throw mismatch(
        `${name}: the server has not enough JetStream storage for its limit; lower the storage setting or give the server more (${message})`,
        error,
      );
    if (code !== undefined && REPLICAS_IMPOSSIBLE.includes(code))
      throw mismatch(
        `${name}: the server cannot have that many replicas; a single server has 1, a cluster of three up to 3 (${message})`,
        error,
      );
    if (faultOf(error) === 'refused') throw mismatch(`${name}: the server refuses it (${message})`, error);
    throw natsError(`setting up ${name}`, error);
  }
}

interface Difference {
  readonly field: string;
  readonly wanted: unknown;
  readonly present: unknown;
}

/** Fields of `wanted` that differ. Fields that the server adds are ignored. */
function differences(wanted: object, present: object): readonly Difference[] {
  const actual = new Map<string, unknown>(Object.entries(present));
  return Object.entries(wanted).flatMap(([field, value]: [string, unknown]) => {
    const there = actual.get(field);
    return same(field, value, there) ? [] : [{ field, wanted: value, present: there }];
  });
}

const sorted = (list: readonly unknown[]) => JSON.stringify(list.map(String).sort());

function same(field: string, wanted: unknown, present: unknown): boolean {
  if (field === 'metadata') {
    const there = new Map<string, unknown>(
      typeof present === 'object' && present !== null ? Object.entries(present) : [],
    );
    return Object.entries(typeof wanted === 'object' && wanted !== null ? wanted : {}).every(
      ([key, value]) => there.get(key) === value,
    );
  }
  if (Array.isArray(wanted)) return Array.isArray(present) && sorted(wanted) === sorted(present);
  // The server omits false and zero.
  if (wanted === false || wanted === 0) return present === wanted || present === undefined;
  return wanted === present;
}

const describeDifferences = (differences_: readonly Difference[]) =>
  differences_
    .map(({ field, wanted, present }) => `${field} ${JSON.stringify(present)} (wanted ${JSON.stringify(wanted)})`)
    .join(', ');

function verify(name: string, wanted: object, present: object) {
  const drift = differences(wanted, present);
  if (drift.length > 0)
    throw mismatch(
      `${name}: the server returned ${describeDifferences(drift)}; it is too old, or an account limit prevents it`,
    );
}
