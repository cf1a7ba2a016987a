/** Every stream, bucket, consumer and durable feed: what `setup` creates, and why it is configured so. README.md, "Assets", has the overview. */
import { LANES, keys, subjectsUnder } from './subjects.ts';
import type { Lane, Subjects } from './subjects.ts';
import { enc } from './tokens.ts';

/** The default prefix of stream and bucket names. */
export const DEFAULT_ASSET_PREFIX = 'REENTRY_';
/** Time after which an un-acked message is redelivered, in seconds. Holders extend it. */
export const ACK_WAIT_SECONDS = 10;
/** Interval at which a holder extends a message's ack deadline, in milliseconds. */
export const WORKING_EVERY_MS = 3_000;
/** Window in which JetStream drops a second message with the same id, in seconds. Each id costs the server about 240 bytes. */
export const DUPLICATE_WINDOW_SECONDS = 120;

/** Largest log chunk, in bytes. */
export const MAX_LOG_CHUNK_BYTES = 64 * 1024;

const DAY_SECONDS = 24 * 3600;

/** Names of all assets under one prefix. A bucket is a stream `KV_<bucket>`, the object bucket `OBJ_<bucket>`. */
export function assetsUnder(prefix: string) {
  const bucket = (name: string) => {
    const id = `${prefix}${name}`;
    return {
      bucket: id,
      stream: `KV_${id}`,
      subject: (key: string) => `$KV.${id}.${key}`,
      all: `$KV.${id}.>`,
    } as const;
  };
  const results = `${prefix}results`;
  return {
    prefix,
    runs: `${prefix}RUNS`,
    steps: `${prefix}STEPS`,
    events: `${prefix}EVENTS`,
    logs: `${prefix}LOGS`,
    deadLetters: `${prefix}DLQ`,
    requestBucket: bucket('reqs'),
    stateBucket: bucket('runs'),
    subscriptionBucket: bucket('subs'),
    ownershipBucket: bucket('own'),
    slotBucket: bucket('slots'),
    resultBucket: { bucket: results, stream: `OBJ_${results}` },
  } as const;
}
export type Assets = ReturnType<typeof assetsUnder>;
export type Bucket = Assets['stateBucket'];

/** Where one installation's subjects and assets are. */
export interface Layout {
  readonly subjects: Subjects;
  readonly assets: Assets;
}

/** Names of durable consumers. The lane comes first, because a queue's name may contain a lane's name. */
export const consumers = {
  intake: (queue: string) => `intake_${queue}`,
  step: (lane: Lane, queue: string) => `step_${lane}_${queue}`,
  feed: ({ tenant, name }: Subscriber) => `feed_${name}_${enc(tenant)}`,
} as const;

/** A subscriber with a durable feed of a tenant's `completed` events. `name` is part of a consumer's name. */
export interface Subscriber {
  readonly tenant: string;
  readonly name: string;
}
/** A feed's name; no `_`, so that consumer names stay unambiguous. */
export const FEED_NAME_PATTERN = /^[A-Za-z0-9-]{1,32}$/;

/** One stream of the table. A limit of `undefined` is no limit. */
export interface StreamSpec {
  readonly name: string;
  readonly description: string;
  readonly subjects: readonly string[];
  /** Setup preserves subjects that other installations or an earlier setup added. */
  readonly keepsForeignSubjects: boolean;
  readonly retention: 'limits' | 'workqueue';
  readonly discard: 'old' | 'new';
  readonly maxAgeSeconds: number | undefined;
  readonly maxBytes: number;
  readonly maxMessagesPerSubject: number | undefined;
  readonly rollup: boolean;
  readonly replicas: number;
}

/** One durable pull consumer of the table. */
export interface ConsumerSpec {
  readonly stream: string;
  readonly name: string;
  readonly description: string;
  readonly filter: string;
  readonly ackWaitSeconds: number;
  /** Largest number of un-acked messages, over all members. */
  readonly maxAckPending: number;
  /** Largest number of open pulls, over all members. The server's default of 512 would limit an installation to about 250 workers. */
  readonly maxWaiting: number;
  readonly replicas: number;
  /** `worker` or `executor` for the consumers of a queue; a queue never changes its kind. */
  readonly kind: 'worker' | 'executor' | 'feed';
}

/** What differs between installations; `config.ts` has the defaults. */
export interface StreamSettings {
  /** Queues served by workers. */
  readonly workerQueues: readonly string[];
  /** Queues served by executors. */
  readonly executorQueues: readonly string[];
  /** Durable feeds of completed events. Default: none. */
  readonly subscribers?: readonly Subscriber[];
  /** Copies of each stream and bucket in a cluster: 1, 3 or 5. */
  readonly replicas: number;
  /** Storage of all streams together; each has its share. */
  readonly storageBytes: number;
  /** Age of events and results. */
  readonly runRetentionSeconds: number;
  readonly logRetentionSeconds: number;
}

/** A queue and the kind of role that serves it. */
interface ServedQueue {
  readonly queue: string;
  readonly kind: 'worker' | 'executor';
}

/** The table. Pure: the same settings give the same table. */
export function streamTable(
  layout: Layout,
  settings: StreamSettings,
): { readonly streams: readonly StreamSpec[]; readonly consumers: readonly ConsumerSpec[] } {
  const queues = [
    ...settings.workerQueues.map((queue) => ({ queue, kind: 'worker' as const })),
    ...settings.executorQueues.map((queue) => ({ queue, kind: 'executor' as const })),
  ];
  return { streams: streamSpecs(layout, settings, queues), consumers: consumerSpecs(layout, settings, queues) };
}

function streamSpecs(
  { subjects, assets }: Layout,
  { replicas, storageBytes, runRetentionSeconds, logRetentionSeconds }: StreamSettings,
  queues: readonly ServedQueue[],
): readonly StreamSpec[] {
  const share = (percent: number) => Math.floor((storageBytes * percent) / 100);

  const stream = (
    spec: Pick<StreamSpec, 'name' | 'description' | 'subjects' | 'maxBytes'> & Partial<StreamSpec>,
  ): StreamSpec => ({
    keepsForeignSubjects: false,
    retention: 'limits',
    discard: 'old',
    maxAgeSeconds: undefined,
    maxMessagesPerSubject: undefined,
    rollup: false,
    replicas,
    ...spec,
  });
  // No maximum age: a run that waits for weeks is not written meanwhile and would expire. The janitor removes ended ones.
  // Discard new: a full bucket refuses writes and never drops a run.
  const keyValue = (bucket: Bucket, description: string, percent: number) =>
    stream({
      name: bucket.stream,
      description,
      subjects: [bucket.all],
      discard: 'new',
      maxBytes: share(percent),
      maxMessagesPerSubject: 1,
      rollup: true,
    });

  return [
    stream({
      name: assets.runs,
      description: 'run requests until a worker has accepted them',
      // One entry per queue, so that a request for an unknown queue gets "no responders" instead of waiting for ever.
      subjects: queues.map(({ queue }) => subjects.run.queue(queue)),
      keepsForeignSubjects: true,
      retention: 'workqueue',
      discard: 'new', // full: the client gets an error; `old` would drop runs silently
      maxBytes: share(5),
    }),
    stream({
      name: assets.steps,
      description: 'next steps of runs',
      subjects: [subjects.step.all],
      retention: 'workqueue',
      discard: 'new',
      maxBytes: share(5),
    }),
    stream({
      name: assets.events,
      description: 'lifecycle events as CloudEvents',
      subjects: [subjects.event.all],
      maxAgeSeconds: runRetentionSeconds,
      maxBytes: share(20),
    }),
    stream({
      name: assets.logs,
      description: 'log chunks; the last message of a subject is the cursor',
      subjects: [subjects.log.all],
      maxAgeSeconds: logRetentionSeconds,
      maxBytes: share(29),
    }),
    stream({
      name: assets.deadLetters,
      description: 'dead letters: copies of messages that workers gave up on',
      subjects: [subjects.dlq.all],
      maxAgeSeconds: 30 * DAY_SECONDS,
      maxBytes: share(2),
    }),
    keyValue(assets.requestBucket, 'validated run requests', 10),
    keyValue(assets.stateBucket, 'run states, written by compare-and-set', 10),
    keyValue(assets.subscriptionBucket, 'what runs wait for', 3),
    keyValue(assets.ownershipBucket, 'which triggerer owns each shard', 1),
    keyValue(assets.slotBucket, 'which run holds each slot of an executor queue', 1),
    stream({
      name: assets.resultBucket.stream,
      description: 'results over 4 KiB',
      subjects: [`$O.${assets.resultBucket.bucket}.C.>`, `$O.${assets.resultBucket.bucket}.M.>`],
      discard: 'new',
      maxAgeSeconds: runRetentionSeconds,
      maxBytes: share(14),
      rollup: true,
    }),
  ];
}

function consumerSpecs(
  { subjects, assets }: Layout,
  { replicas, subscribers = [] }: StreamSettings,
  queues: readonly ServedQueue[],
): readonly ConsumerSpec[] {
  const pull = { ackWaitSeconds: ACK_WAIT_SECONDS, maxAckPending: 10_000, maxWaiting: 2_048, replicas };
  return [
    ...queues.flatMap(({ queue, kind }): ConsumerSpec[] => [
      {
        ...pull,
        stream: assets.runs,
        name: consumers.intake(queue),
        description: `takes in run requests of queue ${queue}`,
        filter: subjects.run.queue(queue),
        kind,
      },
      // One consumer per lane, so that each has its own credits: a worker full of starts still serves ctl and resume.
      ...LANES.map((lane) => ({
        ...pull,
        stream: assets.steps,
        name: consumers.step(lane, queue),
        description: `lane ${lane} of queue ${queue}`,
        filter: subjects.step.lane(queue, lane),
        kind,
      })),
    ]),
    ...subscribers.map((subscriber) => ({
      ...pull,
      stream: assets.events,
      name: consumers.feed(subscriber),
      description: `completed events of tenant ${subscriber.tenant} for ${subscriber.name}`,
      filter: subjects.event.completedOf(subscriber.tenant),
      ackWaitSeconds: 30,
      kind: 'feed' as const,
    })),
  ];
}

/** Subjects and assets of one installation. */
export function layoutOf(root: string, assetPrefix: string): Layout {
  return { subjects: subjectsUnder(root), assets: assetsUnder(assetPrefix) };
}

/** The buckets whose fill stops intake: they must keep room so that accepted runs can finish. */
export function filledBuckets({
  requestBucket,
  stateBucket,
  subscriptionBucket,
  resultBucket,
}: Assets): readonly string[] {
  return [requestBucket.stream, stateBucket.stream, subscriptionBucket.stream, resultBucket.stream];
}

/** Key of a watch's heartbeat in a bucket, and the prefix of all of them. */
export const watchHeartbeatKeys = { of: keys.watchHeartbeat, prefix: keys.watchHeartbeats } as const;
