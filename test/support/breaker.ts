import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type ClusterUnderTest, TARGETS } from './kubernetes.ts';

/** Causes outages of an API server. */
export interface Breaker {
  /** Watches end; for a while the API does not respond, or responds 503. */
  restart(): Promise<void>;
  /** Connections stay open and send nothing until `resume`. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Old resource versions and `continue` tokens expire, and watches end: the next ones get 410. */
  compact(): Promise<void>;
}

/**
 * A command that causes outages of the server of KUBECONFIG, which only these tests may use: it is called with `restart kube-apiserver`,
 * `pause kube-apiserver`, `resume kube-apiserver` or `compact`. Without it outages of a whole server are tested on the local cluster only.
 */
const COMMAND = process.env['REENTRY_TEST_BREAKER'];

function byFaults(k: ClusterUnderTest): Breaker {
  const order = k.faults;
  if (order === undefined) throw new Error('this cluster takes no faults');
  return {
    async restart() {
      order.order({ fault: 'failNext', verb: 'watch', resource: 'pods', status: 503, count: 3 });
      order.order({ fault: 'closeWatches', how: 'reset' });
      await Promise.resolve();
    },
    async pause() {
      order.order({ fault: 'freezeWatches', ms: 60_000 });
      await Promise.resolve();
    },
    async resume() {
      order.order({ fault: 'clear' });
      await Promise.resolve();
    },
    async compact() {
      order.order({ fault: 'expireHistory' });
      order.order({ fault: 'closeWatches', how: 'reset' });
      await Promise.resolve();
    },
  };
}

function byCommand(command: string): Breaker {
  const call = async (words: string): Promise<void> => {
    const child = spawn('sh', ['-c', `${command} ${words}`], { stdio: ['ignore', 'ignore', 'inherit'] });
    await once(child, 'close');
    if (child.exitCode !== 0) throw new Error(`${command} ${words} ended with ${String(child.exitCode)}`);
  };
  return {
    restart: () => call('restart kube-apiserver'),
    pause: () => call('pause kube-apiserver'),
    resume: () => call('resume kube-apiserver'),
    compact: () => call('compact'),
  };
}

/** The clusters whose outages can be caused, each with its breaker. */
export const BROKEN = TARGETS.flatMap(({ name, start }, n) =>
  n === 0
    ? [{ name, start, breaker: byFaults }]
    : COMMAND === undefined
      ? []
      : [{ name, start, breaker: () => byCommand(COMMAND) }],
);

/** The breaker of the cluster under test, if its outages can be caused. */
export function breakerOf(target: ClusterUnderTest): Breaker | undefined {
  if (target.faults !== undefined) return byFaults(target);
  return COMMAND === undefined ? undefined : byCommand(COMMAND);
}
