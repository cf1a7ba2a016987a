/** Each role bound to its settings. Its code is loaded only where the role runs: it costs memory. */
import { engineSettings, slotSettings, triggererSettings } from './settings.ts';
import { boundOperators } from './operators.ts';
import type { BegunRole, Role, RoleParts } from './role.ts';
import { DEFAULT_QUEUE } from '../wire/tokens.ts';
import { callbacksFrom } from './user-modules.ts';

type Begin = (parts: RoleParts) => BegunRole | Promise<BegunRole>;

/** How each role is begun. */
export const BEGINNINGS: Readonly<Record<Role, () => Promise<Begin>>> = {
  worker: beginWorker,
  triggerer: beginTriggerer,
  executor: beginExecutor,
};

/** The worker's role, bound to its settings. */
async function beginWorker(): Promise<Begin> {
  const [{ worker }, { podOperators, commandOperator }] = await Promise.all([
    import('../roles/worker.ts'),
    boundOperators(),
  ]);
  return async ({ id, config, broker, clusters, log, meter, operators, callbacks, tracer, version }) => {
    const registered = { ...(await callbacksFrom(config.callbacks, process.cwd())), ...callbacks };
    const work$ = worker({
      ...{ broker, clusters, log, meter, tracer },
      operators: podOperators(config, operators, log, registered),
      foreign: [commandOperator(config, log)],
      settings: {
        ...engineSettings(config),
        ...{ id, version, queues: config.queues, foreignQueues: config.executorQueues },
      },
    });
    return { work$, condition: () => ({ alive: true, problems: work$.problems() }) };
  };
}

/** The triggerer's role, bound to its settings. */
async function beginTriggerer(): Promise<Begin> {
  const { triggerer } = await import('../roles/triggerer.ts');
  return ({ id, version, config, broker, clusters, log, meter }) => {
    const [defaultQueue = DEFAULT_QUEUE] = config.queues;
    const settings = { id, version, defaultQueue, ...triggererSettings(config) };
    const work$ = triggerer({ broker, clusters, settings, log, meter });
    return { work$, condition: () => work$.health() };
  };
}

/** The executor's role, bound to its settings. */
async function beginExecutor(): Promise<Begin> {
  const [{ executor }, { Launcher }, { LaunchBook }, { podOperators, commandOperator }] = await Promise.all([
    import('../roles/executor.ts'),
    import('../slots/launcher.ts'),
    import('../slots/launch-book.ts'),
    boundOperators(),
  ]);
  return ({ id, config, broker, clusters, log, meter, operators, tracer, version }) => {
    const { parallelism, maxInFlight } = slotSettings(config);
    const launches = new LaunchBook();
    const launcher = new Launcher({ maxInFlight, meter });
    const work$ = executor({
      ...{ broker, clusters, log, meter, tracer, launches, parallelism },
      operators: [commandOperator(config, log, { launcher, launched: launches.created })],
      foreign: podOperators(config, operators, log),
      settings: {
        ...engineSettings(config),
        ...{ id, version, role: 'executor' as const, queues: config.executorQueues, foreignQueues: config.queues },
      },
    });
    return { work$, condition: () => ({ alive: true, problems: work$.problems() }) };
  };
}
