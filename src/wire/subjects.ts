import { dec, enc } from './tokens.ts';

/** What identifies a run everywhere. */
export interface RunKey {
  readonly tenant: string;
  readonly runId: string;
  /** `<tenant>.<runId>` as received, where the tokens are not canonical: such a run only ever ends as an invalid request. */
  readonly tokens?: string;
}

/** Lanes of the step queue, in order of precedence: what a worker does next with a run. */
export const LANES = ['ctl', 'resume', 'start'] as const;
export type Lane = (typeof LANES)[number];

/** Types of lifecycle events. */
export const EVENT_TYPES = ['accepted', 'launched', 'deferred', 'resumed', 'retrying', 'completed'] as const;
export type EventType = (typeof EVENT_TYPES)[number];

/** Verbs of the request/reply service. */
export const VERBS = ['submit', 'retry', 'status', 'list', 'cancel', 'logs', 'result', 'explain', 'render'] as const;
export type Verb = (typeof VERBS)[number];

/** The run of two canonical tokens; `undefined` where one is not. */
export function runOfTokens(tenantToken: string | undefined, runIdToken: string | undefined): RunKey | undefined {
  const tenant = dec(tenantToken ?? '');
  const runId = dec(runIdToken ?? '');
  return tenant === undefined || runId === undefined ? undefined : { tenant, runId };
}

const key = ({ tenant, runId, tokens }: RunKey): string => tokens ?? `${enc(tenant)}.${enc(runId)}`;

/** Queries between roles, as core request and reply. */
export const ROLE_QUERIES = ['queuePosition', 'queues', 'roles'] as const;
export type RoleQuery = (typeof ROLE_QUERIES)[number];

/** Every NATS subject of the service under one root. No other file spells one. */
export function subjectsUnder(root: string) {
  return {
    root,
    /** Run requests. */
    run: {
      of: (queue: string, run: RunKey) => `${root}.run.${queue}.${key(run)}`,
      queue: (queue: string) => `${root}.run.${queue}.*.*`,
      /** Under one run id, on every queue. */
      anyQueue: (run: RunKey) => `${root}.run.*.${key(run)}`,
      tenant: (tenant: string) => `${root}.run.*.${enc(tenant)}.>`,
    },
    /** Steps: a worker continues a run. */
    step: {
      of: (queue: string, lane: Lane, run: RunKey) => `${root}.step.${queue}.${lane}.${key(run)}`,
      lane: (queue: string, lane: Lane) => `${root}.step.${queue}.${lane}.*.*`,
      all: `${root}.step.*.*.*.*`,
    },
    /** Lifecycle events of a run. */
    event: {
      of: (run: RunKey, type: EventType) => `${root}.ev.${key(run)}.${type}`,
      ofRun: (run: RunKey) => `${root}.ev.${key(run)}.>`,
      ofTenant: (tenant: string) => `${root}.ev.${enc(tenant)}.>`,
      completedOf: (tenant: string) => `${root}.ev.${enc(tenant)}.*.completed`,
      all: `${root}.ev.*.*.*`,
    },
    /** Stored log chunks of one container of one attempt. */
    log: {
      of: (run: RunKey, attempt: number, container: string) =>
        `${root}.log.${key(run)}.${String(attempt)}.${enc(container)}`,
      ofRun: (run: RunKey) => `${root}.log.${key(run)}.>`,
      ofTenant: (tenant: string) => `${root}.log.${enc(tenant)}.>`,
      all: `${root}.log.*.*.*.*`,
    },
    /** Live log lines; never stored. */
    live: {
      of: (run: RunKey, container: string) => `${root}.live.${key(run)}.${enc(container)}`,
      ofRun: (run: RunKey) => `${root}.live.${key(run)}.>`,
      ofTenant: (tenant: string) => `${root}.live.${enc(tenant)}.>`,
      all: `${root}.live.>`,
    },
    /** Requests between workers about following a run's log. */
    follow: { of: (run: RunKey) => `${root}.follow.${key(run)}`, all: `${root}.follow.*.*` },
    /** Dead letters, by kind (`run`, `step`). */
    dlq: {
      of: (kind: string, run: RunKey) => `${root}.dlq.${kind}.${key(run)}`,
      ofTenant: (tenant: string) => `${root}.dlq.*.${enc(tenant)}.*`,
      all: `${root}.dlq.*.*.*`,
    },
    /** Heartbeats of triggerers. */
    heartbeat: { of: (replica: string) => `${root}.hb.trig.${enc(replica)}`, all: `${root}.hb.trig.*` },
    /** Heartbeats of executors, by queue. */
    executorHeartbeat: {
      of: (queue: string, executor: string) => `${root}.hb.exec.${queue}.${enc(executor)}`,
      all: `${root}.hb.exec.*.*`,
    },
    /** Nudges: a worker is asked to look again at a blocking run it holds. */
    nudge: { of: (worker: string) => `${root}.nudge.${enc(worker)}`, all: `${root}.nudge.*` },
    /** Queries between roles: queue positions and loads, answered by one triggerer; live processes, answered by all. */
    query: { of: (question: RoleQuery) => `${root}.query.${question}`, all: `${root}.query.*` },
    /** Request/reply, answered by any worker. */
    service: {
      of: (tenant: string, verb: Verb) => `${root}.svc.${enc(tenant)}.${verb}`,
      verb: (verb: Verb) => `${root}.svc.*.${verb}`,
      ofTenant: (tenant: string) => `${root}.svc.${enc(tenant)}.>`,
      all: `${root}.svc.>`,
    },
  } as const;
}
export type Subjects = ReturnType<typeof subjectsUnder>;

/** The default root of all subjects. */
export const DEFAULT_SUBJECT_ROOT = 'reentry.v1';
/** Server of processes and clients that name none. */
export const DEFAULT_NATS_URL = 'nats://127.0.0.1:4222';

/** Keys inside buckets. */
export const keys = {
  /** In `reqs` and `runs`. */
  run: key,
  /** In `subs`; `shard` is two hex digits. */
  subscription: (shard: string, run: RunKey) => `${shard}.${key(run)}`,
  /** In `subs` beside the subscriptions, so that one watch emits both in order: a queue's record, and the slots of a concurrency key. */
  queue: (queue: string) => `q.${queue}`,
  concurrencySlots: (tenant: string, concurrencyKey: string) => `k.${enc(tenant)}.${enc(concurrencyKey)}`,
  watchHeartbeat: (replica: string) => `heartbeat.${enc(replica)}`,
  watchHeartbeats: 'heartbeat.',
  /** In `own`. */
  shard: (shard: string) => `s.${shard}`,
  janitor: 'janitor',
  /** In `slots`; numbers begin at 0. */
  slot: (queue: string, slot: number) => `${queue}.${String(slot)}`,
  /** How often holders of a message crashed. */
  crashes: (stream: string, seq: number) => `crash.${stream}.${String(seq)}`,
  /** In `results`. */
  result: ({ tenant, runId }: RunKey, attempt: number, name: string) =>
    `${enc(tenant)}/${enc(runId)}/${String(attempt)}/${enc(name)}`,
} as const;
