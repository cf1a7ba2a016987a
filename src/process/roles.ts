/** The roles of this version, and how each is started from the settings. A role's code is loaded only where it runs: it costs memory. */
import type { Config } from '../config.ts';
import type { CallbackRegistry } from '../operator/callbacks.ts';
import type { DefinedOperator } from '../operator/define-operator.ts';
import type { Log, Meter, Tracer } from '../ports/ambient.ts';
import type { Broker } from '../ports/broker.ts';
import type { Clusters } from '../ports/cluster.ts';
import type { Work } from '../run.ts';
import { DEFAULT_QUEUE } from '../wire/tokens.ts';
import type { ConnectionStates } from './connection-states.ts';
import type { Condition } from './health.ts';
import type { Worker } from '../roles/worker.ts';
import { boundOperators } from './operators.ts';
import { engineSettings, slotSettings, triggererSettings } from './settings.ts';
import type { Policy } from '../policy/policy.ts';
import type { WatchedFile } from './watched-file.ts';
import { callbacksFrom } from './user-modules.ts';

/** Names of the roles. */
export const ROLES = ['worker', 'triggerer', 'executor'] as const;
export type Role = (typeof ROLES)[number];

/** What a role is started with. */
export interface RoleParts {
  /** Unique among the processes of the installation. */
  readonly id: string;
  /** Version of the program, for `reentry doctor`. */
  readonly version: string;
  readonly config: Config;
  readonly broker: Broker;
  readonly clusters: Clusters;
  readonly states: ConnectionStates;
  /** Absent: no policy is configured. */
  readonly policy: WatchedFile<Policy> | undefined;
  readonly log: Log;
  readonly meter: Meter;
  /** Absent: no spans. */
  readonly tracer?: Tracer | undefined;
  /** Operators of the user, in addition to `pod`. */
  readonly operators: readonly DefinedOperator[];
  /** Pod callbacks of the user, in addition to those of the settings. */
  readonly callbacks: CallbackRegistry;
}

/** A role's work, and its condition for the health endpoint. */
export interface StartedRole {
  readonly work$: Work;
  readonly condition: () => Condition;
}

type Start = (parts: RoleParts) => StartedRole | Promise<StartedRole>;

/** Loads each role's code; gives the function that starts it. */
export const ROLE_STARTERS: Readonly<Record<Role, () => Promise<Start>>> = {
  worker: loadWorker,
  triggerer: loadTriggerer,
  executor: loadExecutor,
};

async function loadWorker(): Promise<Start> {
  const [{ worker }, { podOperators, commandOperator }] = await Promise.all([
    import('../roles/worker.ts'),
    boundOperators(),
  ]);
  return async ({
    id,
    config,
    broker,
    clusters,
    states,
    policy,
    log,
    meter,
    operators,
    callbacks,
    tracer,
    version,
  }) => {
    const registered = { ...(await callbacksFrom(config.callbacks, process.cwd())), ...callbacks };
    const work$ = worker({
      ...{ broker, clusters, availability: states, log, meter, tracer },
      problems: () => states.problems,
      operators: podOperators(config, operators, policy, registered),
      foreign: [commandOperator(config, policy)],
      settings: {
        ...engineSettings(config),
        ...{ id, version, queues: config.queues, foreignQueues: config.executorQueues },
      },
    });
    return { work$, condition: () => conditionOf(work$) };
  };
}

async function loadTriggerer(): Promise<Start> {
  const { triggerer } = await import('../roles/triggerer.ts');
  return ({ id, version, config, broker, clusters, log, meter }) => {
    const [defaultQueue = DEFAULT_QUEUE] = config.queues;
    const settings = { id, version, defaultQueue, ...triggererSettings(config) };
    const work$ = triggerer({ broker, clusters, settings, log, meter });
    return { work$, condition: () => work$.health() };
  };
}

async function loadExecutor(): Promise<Start> {
  const [{ executor }, { Launcher }, { ExecutorSlots }, { podOperators, commandOperator }] = await Promise.all([
    import('../roles/executor.ts'),
    import('../slots/launcher.ts'),
    import('../slots/executor-slots.ts'),
    boundOperators(),
  ]);
  return ({ id, config, broker, clusters, states, policy, log, meter, operators, tracer, version }) => {
    const { parallelism, maxInFlight } = slotSettings(config);
    const { executorQueues: queues, startCredits } = config;
    const slots = new ExecutorSlots({ id, queues, parallelism, startCredits, broker, clusters, log, meter });
    const launcher = new Launcher({ maxInFlight, meter });
    const work$ = executor({
      ...{ broker, clusters, availability: states, log, meter, tracer, slots },
      problems: () => states.problems,
      operators: [
        commandOperator(config, policy, {
          launcher,
          created: (queue, attempt, pod) => {
            slots.podCreated(queue, attempt, pod);
          },
          uncertain: (queue, attempt) => {
            slots.creationUncertain(queue, attempt);
          },
        }),
      ],
      foreign: podOperators(config, operators, policy),
      settings: {
        ...engineSettings(config),
        ...{ id, version, role: 'executor' as const, queues, foreignQueues: config.queues },
      },
    });
    return { work$, condition: () => conditionOf(work$) };
  };
}

function conditionOf(work$: Worker): Condition {
  const [stuck, problems] = [work$.stuck(), work$.problems()];
  const isReady = stuck.length === 0 && problems.length === 0;
  return { alive: stuck.length === 0, ready: isReady, problems: [...stuck, ...problems] };
}
