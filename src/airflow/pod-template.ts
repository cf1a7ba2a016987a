/** `get_base_pod_from_template`: the template that the pods of tasks start from. */
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { isRecord, type JsonRecord } from '../core/json.ts';
import { typedPod } from '../core/pod/typed-pod.ts';
import { messageOf, ReentryError } from '../errors.ts';
import { podProblem } from '../operator/construct-pod.ts';
import type { Log } from '../ports/ambient.ts';
import type { KubeConfig } from './kube-config.ts';

/** Returns the text of a template file; `undefined` when there is none. */
export type TemplateFiles = (path: string) => string | undefined;

/** Reads templates from disk. */
export const filesOnDisk: TemplateFiles = (path) => {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR'))
      return undefined;
    throw error;
  }
};

/**
 * The task's own template, else the configured one, as a pod. A missing file gives a warning and an empty pod.
 * @throws ReentryError CONFIG_INVALID when the file does not hold a pod
 */
export function getBasePodFromTemplate(
  podTemplateFile: string | undefined,
  kubeConfig: Pick<KubeConfig, 'podTemplateFile'>,
  options: { readonly files?: TemplateFiles; readonly log?: Pick<Log, 'warn'> | undefined } = {},
): JsonRecord {
  const path = podTemplateFile === undefined || podTemplateFile === '' ? kubeConfig.podTemplateFile : podTemplateFile;
  const text = path === '' ? undefined : (options.files ?? filesOnDisk)(path);
  if (text === undefined) {
    options.log?.warn({ podTemplateFile: path }, 'pod template not found; using an empty one');
    return {};
  }
  let pod: unknown;
  try {
    pod = parse(text, { intAsBigInt: true }) ?? {};
  } catch (error) {
    throw broken(path, messageOf(error), error);
  }
  const problem = podProblem(pod);
  if (problem !== undefined || !isRecord(pod)) throw broken(path, problem ?? 'is not an object');
  return typedPod(pod, 'yaml');
}

function broken(path: string, why: string, cause?: unknown): ReentryError {
  return new ReentryError('CONFIG_INVALID', `pod template ${path}: ${why}`, {
    transient: false,
    cause,
    problems: [{ path: 'podTemplateFile', message: why }],
  });
}
