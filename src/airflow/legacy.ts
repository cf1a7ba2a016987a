/** What only Airflow 1.10 had: options for dags, git and secrets, and pod names of run-together ids and a UUID. */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { slugify } from '../core/pod/names.ts';
import { ReentryError, type Problem } from '../errors.ts';
import type { Log } from '../ports/ambient.ts';
import type { SecretWriter } from '../ports/cluster.ts';

/** Options of Airflow 1.10 that are still checked or used, by their own names. */
export interface LegacyOptions {
  readonly dags_in_image?: boolean;
  readonly dags_volume_claim?: string;
  readonly dags_volume_host?: string;
  readonly git_repo?: string;
  readonly git_branch?: string;
  readonly git_dags_folder_mount_point?: string;
  readonly git_user?: string;
  readonly git_password?: string;
  readonly git_ssh_key_secret_name?: string;
  /** Comma-separated `name=path` pairs. */
  readonly gcp_service_account_keys?: string;
  readonly run_as_user?: string;
  readonly fs_group?: string;
}

const isSet = (text: string | undefined): boolean => text !== undefined && text !== '';

/** Problems of the options; empty when they are valid. */
export function legacyProblems(options: LegacyOptions): readonly Problem[] {
  const problems: Problem[] = [];
  const git = [options.git_repo, options.git_branch, options.git_dags_folder_mount_point].every(isSet);
  const stored = isSet(options.dags_volume_claim) || isSet(options.dags_volume_host) || options.dags_in_image === true;
  if (!stored && !git)
    problems.push({
      path: 'dags_volume_claim',
      message:
        'or dags_volume_host, dags_in_image, or git_repo with git_branch and git_dags_folder_mount_point is needed',
    });
  const password = isSet(options.git_user) || isSet(options.git_password);
  if (isSet(options.git_repo) && password && isSet(options.git_ssh_key_secret_name))
    problems.push({ path: 'git_ssh_key_secret_name', message: 'excludes git_user and git_password' });
  return problems;
}

/** The value of `run_as_user` or `fs_group`; `undefined` when unset. @throws ReentryError CONFIG_INVALID when it is not a whole number */
export function securityContextValue(options: LegacyOptions, name: string): number | undefined {
  const text = name === 'run_as_user' ? options.run_as_user : name === 'fs_group' ? options.fs_group : undefined;
  if (text === undefined || text === '') return undefined;
  if (/^\d+$/.test(text)) return Number(text);
  const problem = { path: name, message: `must be a whole number, not ${JSON.stringify(text)}` };
  throw new ReentryError('CONFIG_INVALID', `${problem.path} ${problem.message}`, {
    transient: false,
    problems: [problem],
  });
}

/** A Secret to create from a file. */
export interface ServiceAccountKey {
  readonly name: string;
  readonly path: string;
}

/** The keys in `gcp_service_account_keys`. @throws ReentryError CONFIG_INVALID for an entry that is not `name=path` */
export function serviceAccountKeys({
  gcp_service_account_keys: text = '',
}: LegacyOptions): readonly ServiceAccountKey[] {
  const entries = text.split(',').map((entry) => entry.trim());
  return entries
    .filter((entry) => entry !== '')
    .map((entry) => {
      const [name = '', path = '', ...more] = entry.split('=').map((part) => part.trim());
      if (name === '' || path === '' || more.length > 0)
        throw new ReentryError(
          'CONFIG_INVALID',
          `gcp_service_account_keys: ${JSON.stringify(entry)} is not name=path`,
          {
            transient: false,
            problems: [{ path: 'gcp_service_account_keys', message: 'must be name=path pairs' }],
          },
        );
      return { name, path };
    });
}

/** Maximum length of an object name in Kubernetes. */
const MAX_OBJECT_NAME = 253;

/** 32 random hex digits, like a UUID without dashes. */
export const uuidHex = (): string => randomBytes(16).toString('hex');

/** The ASCII letters and digits of an id, lower case. Airflow keeps letters of every script, which Kubernetes refuses. */
export function stripUnsafeKubernetesSpecialChars(text: string): string {
  return slugify(text).replaceAll('-', '');
}

/** Both ids, truncated so that `-` and the UUID fit. */
export function makeSafePodId(safeDagId: string, safeTaskId: string, safeUuid: string): string {
  return `${`${safeDagId}${safeTaskId}`.slice(0, MAX_OBJECT_NAME - safeUuid.length - 1)}-${safeUuid}`;
}

/** A pod name as Airflow 1.10 made it. @param uuid 32 hex digits; random by default */
export function createPodId(dagId: string, taskId: string, uuid: string = uuidHex()): string {
  const [dag, task] = [stripUnsafeKubernetesSpecialChars(dagId), stripUnsafeKubernetesSpecialChars(taskId)];
  return makeSafePodId(dag === '' && task === '' ? 'pod' : dag, task, stripUnsafeKubernetesSpecialChars(uuid));
}

/** `name` made unique by a UUID; `undefined` for an empty name. */
export function makeUniquePodId(name: string, uuid: string = uuidHex()): string | undefined {
  if (name === '') return undefined;
  const kept = name.slice(0, MAX_OBJECT_NAME - uuid.length - 1).replace(/[-.]+$/, '');
  return `${kept}-${uuid}`;
}

/** Key of the file in its Secret. */
const KEY_FILE = 'key.json';

/**
 * Creates or replaces a Secret for each configured service account key.
 * @throws ReentryError CONFIG_INVALID for an invalid list; KubernetesError; the error of reading a file
 */
export async function injectSecrets(
  writer: SecretWriter,
  namespace: string,
  options: LegacyOptions,
  log?: Log,
): Promise<void> {
  for (const { name, path } of serviceAccountKeys(options)) {
    try {
      const outcome = await writer.putSecret(namespace, name, { [KEY_FILE]: await readFile(path) });
      log?.info({ secret: name, namespace }, `service account secret ${outcome}`);
    } catch (error) {
      log?.error({ secret: name, namespace, err: error }, 'creating a service account secret failed');
      throw error;
    }
  }
}
