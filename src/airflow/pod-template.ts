/** The pod that every task's pod begins with. @see spec executor §7.1 */
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { isRecord, type JsonRecord } from '../core/json.ts';
import { ReentryError } from '../errors.ts';
import type { Log } from '../ports/ambient.ts';
import type { KubeConfig } from './kube-config.ts';
import { podProblem } from '../operator/construct-pod.ts';

/** The text of a template file; `undefined` where there is no such file. */
export type TemplateFiles = (path: string) => string | undefined;

/** Templates from the disk. */
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
 * The task's own template, else the configured one, as a pod. A file that is not there gives one warning and an empty pod, which what the task needs
 * then fills.
 * @throws ReentryError CONFIG_INVALID for a file that does not hold a pod
 */
export function getBasePodFromTemplate(
  podTemplateFile: string | undefined,
  kubeConfig: Pick<KubeConfig, 'podTemplateFile'>,
  options: { readonly files?: TemplateFiles; readonly log?: Pick<Log, 'warn'> | undefined } = {},
): JsonRecord {
  const path = podTemplateFile === undefined || podTemplateFile === '' ? kubeConfig.podTemplateFile : podTemplateFile;
  const text = path === '' ? undefined : (options.files ?? filesOnDisk)(path);
  if (text === undefined) {
    options.log?.warn({ podTemplateFile: path }, 'the pod template is not there; pods get nothing from it');
    return {};
  }
  let pod: unknown;
  try {
    pod = parse(text) ?? {};
  } catch (error) {
    throw broken(path, error instanceof Error ? error.message : String(error), error);
  }
  const problem = podProblem(pod);
  if (problem !== undefined || !isRecord(pod)) throw broken(path, problem ?? 'is not an object');
  return pod;
}

function broken(path: string, why: string, cause?: unknown): ReentryError {
  return new ReentryError('CONFIG_INVALID', `pod template ${path}: ${why}`, {
    transient: false,
    cause,
    problems: [{ path: 'podTemplateFile', message: why }],
  });
}
