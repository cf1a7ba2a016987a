/** Parses one kubeconfig file. Reads only what a connection uses; `null` counts as absent; paths are relative to the file. */
import { readFileSync } from 'node:fs';
import { dirname, resolve, sep } from 'node:path';
import type { Cluster, User } from '@kubernetes/client-node/dist/config_types.js';
import { parse } from 'yaml';
import { isRecord, type JsonRecord, recordIn, recordsIn } from '../core/json.ts';

/** A named entry, and the folder that its relative paths start from. */
export interface KubeconfigEntry {
  readonly name: string;
  readonly folder: string;
  readonly fields: JsonRecord;
}

/** The entries of a file. */
export interface KubeconfigFile {
  readonly clusters: readonly KubeconfigEntry[];
  readonly users: readonly KubeconfigEntry[];
  readonly contexts: readonly KubeconfigEntry[];
  readonly currentContext: string | undefined;
}

/** A cluster, and its information for credential plugins. */
export interface ClusterEntry extends Cluster {
  readonly pluginConfig?: unknown;
}

/** A user, and its token file, which takes precedence over a token in the entry. */
export interface UserEntry extends User {
  readonly tokenFile?: string;
}

/** Name of the cluster extension that credential plugins receive. */
const PLUGIN_EXTENSION = 'client.authentication.k8s.io/exec';

/** Reads a file. Throws what reading or parsing throws. */
export function kubeconfigFile(path: string): KubeconfigFile {
  const file: unknown = parse(readFileSync(path, 'utf8'), { merge: true });
  const folder = dirname(resolve(path));
  const named = (list: string, entry: string): readonly KubeconfigEntry[] =>
    recordsIn(file, list).flatMap((one) => {
      const name = scalarIn(one, 'name');
      return name === undefined ? [] : [{ name, folder, fields: recordIn(one, entry) }];
    });
  return {
    clusters: named('clusters', 'cluster'),
    users: named('users', 'user'),
    contexts: named('contexts', 'context'),
    currentContext: scalarIn(file, 'current-context'),
  };
}

/** The cluster of an entry; `server` is empty when the entry has none. */
export function clusterEntryOf({ name, folder, fields }: KubeconfigEntry): ClusterEntry {
  const extension = recordsIn(fields, 'extensions').find((one) => one['name'] === PLUGIN_EXTENSION)?.['extension'];
  return present({
    name,
    server: scalarIn(fields, 'server') ?? '',
    skipTLSVerify: fields['insecure-skip-tls-verify'] === true,
    caData: scalarIn(fields, 'certificate-authority-data'),
    caFile: pathIn(fields, 'certificate-authority', folder),
    tlsServerName: scalarIn(fields, 'tls-server-name'),
    proxyUrl: scalarIn(fields, 'proxy-url'),
    pluginConfig: extension ?? undefined,
  });
}

/** The user of an entry. */
export function userOf({ name, folder, fields }: KubeconfigEntry): UserEntry {
  const exec: unknown = fields['exec'];
  return present({
    name,
    certData: scalarIn(fields, 'client-certificate-data'),
    certFile: pathIn(fields, 'client-certificate', folder),
    keyData: scalarIn(fields, 'client-key-data'),
    keyFile: pathIn(fields, 'client-key', folder),
    token: scalarIn(fields, 'token'),
    tokenFile: pathIn(fields, 'tokenFile', folder),
    username: scalarIn(fields, 'username'),
    password: scalarIn(fields, 'password'),
    authProvider: fields['auth-provider'] ?? undefined,
    exec: isRecord(exec) ? { ...exec, command: commandIn(exec, folder) } : undefined,
  });
}

/** The text in field `key`; numbers and booleans as text, as other readers of these files do. Empty text counts as absent. */
export function scalarIn(value: unknown, key: string): string | undefined {
  return (isRecord(value) ? scalarText(value[key]) : undefined) || undefined;
}

/** A value as text. */
export function scalarText(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined;
}

function pathIn(fields: JsonRecord, key: string, folder: string): string | undefined {
  const path = scalarIn(fields, key);
  return path === undefined ? undefined : resolve(folder, path);
}

/** A command without a path separator is searched in PATH. */
function commandIn(exec: JsonRecord, folder: string): string | undefined {
  const command = scalarIn(exec, 'command');
  return command !== undefined && (command.includes(sep) || command.includes('/')) ? resolve(folder, command) : command;
}

type Optional<T> = { [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined> } & {
  [K in keyof T as undefined extends T[K] ? never : K]: T[K];
};

function present<T extends object>(fields: T): Optional<T>;
function present(fields: object): object {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
