/** The log of a task whose pod still runs: Airflow's `get_task_log` and `get_streaming_task_log`. */
import { recordIn, textIn } from '../core/json.ts';
import { messageOf, ReentryError } from '../errors.ts';
import { BASE_CONTAINER } from '../operator/construct-pod.ts';
import { podOverrideIn } from '../operator/executor-config.ts';
import type { Cluster } from '../ports/cluster.ts';
import type { KubeConfig } from './kube-config.ts';
import { buildSelectorForK8sExecutorPod } from './pod-selectors.ts';
import type { TaskInstance } from './records.ts';

/** Messages for people, and the log as a stream of lines. */
export interface StreamedTaskLog {
  readonly messages: readonly string[];
  /** Empty when nothing could be read. */
  readonly streams: readonly AsyncIterable<string>[];
}

/** Terminal escape sequences. */
const ANSI = /\u001B(?:[@-Z\\-_]|\[[0-?]*[ -/]*[@-~])/g;

function namespaceOf(task: TaskInstance, kubeConfig: Pick<KubeConfig, 'kubeNamespace'>): string {
  try {
    const override = podOverrideIn(task.executorConfig);
    return textIn(recordIn(override, 'metadata'), 'namespace') ?? kubeConfig.kubeNamespace;
  } catch {
    // No pod can have been launched from an invalid config.
    return kubeConfig.kubeNamespace;
  }
}

/** Streams the last `tailLines` lines of a running task's container. Never rejects: errors become messages. */
export async function streamTaskLog(
  cluster: Pick<Cluster, 'listPods' | 'logs'>,
  kubeConfig: Pick<KubeConfig, 'kubeNamespace'>,
  task: TaskInstance,
  { tryNumber, tailLines }: { readonly tryNumber: number; readonly tailLines: number },
): Promise<StreamedTaskLog> {
  const host = task.hostname === undefined || task.hostname === '' ? '' : ` (${task.hostname})`;
  const messages = [`Asking the Kubernetes API for the log of the pod${host}.`];
  try {
    const namespace = namespaceOf(task, kubeConfig);
    const selector = buildSelectorForK8sExecutorPod({ ...task.key, tryNumber, owner: task.queuedByJobId });
    const pods = await cluster.listPods(namespace, selector);
    const [pod] = pods;
    if (pod === undefined || pods.length > 1)
      throw new ReentryError('NOT_FOUND', `${pods.length} pods in ${namespace} fit ${selector}; one was expected`, {
        transient: false,
      });
    const lines = cluster.logs(pod, BASE_CONTAINER, { tailLines })[Symbol.asyncIterator]();
    const first = await lines.next();
    if (first.done === true) return { messages, streams: [] };
    const stream = async function* (): AsyncGenerator<string, undefined> {
      yield first.value.text.replace(ANSI, '');
      for (let next = await lines.next(); next.done !== true; next = await lines.next())
        yield next.value.text.replace(ANSI, '');
    };
    return { messages: [...messages, `Found the log of pod ${pod.name}.`], streams: [stream()] };
  } catch (error) {
    const why = messageOf(error);
    return { messages: [...messages, `Reading the log failed: ${why}`], streams: [] };
  }
}

/** Reads the streams to strings; one empty string when there is no stream. */
export async function readTaskLog(log: StreamedTaskLog): Promise<{
  readonly messages: readonly string[];
  readonly logs: readonly string[];
}> {
  const logs: string[] = [];
  const messages = [...log.messages];
  for (const stream of log.streams) {
    const lines: string[] = [];
    try {
      for await (const line of stream) lines.push(line);
    } catch (error) {
      messages.push(`Reading the log failed: ${messageOf(error)}`);
    }
    logs.push(lines.join('\n'));
  }
  return { messages, logs: logs.length === 0 ? [''] : logs };
}
