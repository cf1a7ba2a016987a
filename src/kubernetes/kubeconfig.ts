/** Resolves a connection's settings to server, TLS trust and user. Reads files, sends nothing. */
import { existsSync, readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { defaultNamespace } from '../core/pod/names.ts';
import { messageOf, ReentryError } from '../errors.ts';
import { type ImpersonationHeaders, impersonationOf } from './impersonation.ts';
import {
  type ClusterEntry,
  clusterEntryOf,
  type KubeconfigEntry,
  type KubeconfigFile,
  kubeconfigFile,
  scalarIn,
  type UserEntry,
  userOf,
} from './kubeconfig-file.ts';
import { type ConnectionSettings, KUBE_CONFIG_ENV_VAR } from './settings.ts';

/** Environment for `KUBECONFIG` and for credential plugins. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** A resolved connection. */
export interface Target {
  readonly cluster: ClusterEntry;
  /** The user's `tokenFile` (a pod's service account has one) is read again before the token expires. */
  readonly user: UserEntry;
  readonly impersonation: ImpersonationHeaders;
  readonly namespace: string;
}

const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

/** Resolves a connection. @throws ReentryError CONFIG_INVALID naming the missing file, context or entry */
export function targetOf(connection: string, settings: ConnectionSettings, env: Environment): Target {
  return settings.inCluster === true || isOnlyInCluster(settings, env)
    ? inCluster(connection, settings, env)
    : fromFiles(connection, settings, env);
}

/** As other clients do: a pod without a kubeconfig uses its service account. */
function isOnlyInCluster({ kubeconfig, context, inCluster }: ConnectionSettings, env: Environment): boolean {
  const named = [kubeconfig, context, env['KUBECONFIG']].some((one) => one !== undefined && one !== '');
  if (named || inCluster === false || env['KUBERNETES_SERVICE_HOST'] === undefined) return false;
  return existsSync(`${ACCOUNT}/token`) && !existsSync(join(homedir(), '.kube', 'config'));
}

function invalid(connection: string, message: string, cause?: unknown): ReentryError {
  return new ReentryError('CONFIG_INVALID', `connection "${connection}": ${message}`, { transient: false, cause });
}

function inCluster(connection: string, settings: ConnectionSettings, env: Environment): Target {
  const host = env['KUBERNETES_SERVICE_HOST'];
  const port = env['KUBERNETES_SERVICE_PORT'];
  if (host === undefined || port === undefined || !existsSync(`${ACCOUNT}/token`)) {
    throw invalid(
      connection,
      `in-cluster credentials were asked for, but this process does not run in a pod with a service account (KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT and ${ACCOUNT}/token are needed)`,
    );
  }
  const scheme = ['80', '8080', '8001'].includes(port) ? 'http' : 'https';
  const own = existsSync(`${ACCOUNT}/namespace`) ? readFileSync(`${ACCOUNT}/namespace`, 'utf8') : undefined;
  return {
    cluster: {
      name: 'in-cluster',
      caFile: `${ACCOUNT}/ca.crt`,
      server: `${scheme}://${isIPv6(host) ? `[${host}]` : host}:${port}`,
      skipTLSVerify: false,
    },
    user: { name: 'in-cluster', tokenFile: `${ACCOUNT}/token` },
    impersonation: {},
    namespace: defaultNamespace(settings.namespace, own),
  };
}

function fromFiles(connection: string, settings: ConnectionSettings, env: Environment): Target {
  const { files, paths } = filesOf(connection, settings, env);
  const from = paths.join(', ');
  const name = settings.context ?? files.find(({ currentContext }) => currentContext !== undefined)?.currentContext;
  if (name === undefined) throw invalid(connection, `${from} names no current context; name one`);
  const contexts = files.flatMap(({ contexts }) => contexts);
  const context = named(contexts, name);
  if (context === undefined) {
    const known = contexts.map((one) => one.name).join(', ');
    throw invalid(connection, `${from} has no context "${name}"; it has: ${known || 'none'}`);
  }
  const missing = (what: string, entry: string): ReentryError =>
    invalid(connection, `context "${name}" names ${what} "${entry}", which does not exist`);
  const clusterName = scalarIn(context.fields, 'cluster');
  if (clusterName === undefined) throw invalid(connection, `context "${name}" names no cluster`);
  const clusterEntry = named(
    files.flatMap(({ clusters }) => clusters),
    clusterName,
  );
  if (clusterEntry === undefined) throw missing('cluster', clusterName);
  const cluster = clusterEntryOf(clusterEntry);
  if (!/^https?:\/\//.test(cluster.server))
    throw invalid(connection, `cluster "${cluster.name}" has no http(s) server address`);
  const userName = scalarIn(context.fields, 'user');
  const users = files.flatMap(({ users }) => users);
  const userEntry = userName === undefined ? { name: '', folder: '', fields: {} } : named(users, userName);
  if (userEntry === undefined) throw missing('user', userName ?? '');
  return {
    cluster,
    user: userOf(userEntry),
    impersonation: impersonated(connection, userEntry),
    namespace: defaultNamespace(settings.namespace, scalarIn(context.fields, 'namespace')),
  };
}

function impersonated(connection: string, user: KubeconfigEntry): ImpersonationHeaders {
  try {
    return impersonationOf(user.fields);
  } catch (error) {
    throw invalid(connection, `user "${user.name}" cannot be used: ${messageOf(error)}`, error);
  }
}

/** The first file that defines an entry wins. */
function named(entries: readonly KubeconfigEntry[], name: string): KubeconfigEntry | undefined {
  return entries.find((one) => one.name === name);
}

interface Found {
  readonly files: readonly KubeconfigFile[];
  readonly paths: readonly string[];
}

function filesOf(connection: string, settings: ConnectionSettings, env: Environment): Found {
  const split = (list: string): readonly string[] => list.split(delimiter).filter((path) => path !== '');
  const given = settings.kubeconfig ? split(settings.kubeconfig) : [];
  if (given.length > 0) return { files: given.map((path) => fileAt(connection, path)), paths: given };
  const listed = split(env[KUBE_CONFIG_ENV_VAR] ?? '');
  if (listed.length === 0) {
    const path = join(homedir(), '.kube', 'config');
    return { files: [fileAt(connection, path)], paths: [path] };
  }
  // `KUBECONFIG` may list files that do not exist; they are skipped, as by kubectl.
  const readable = listed.flatMap((path) => {
    try {
      return [{ path, file: fileAt(connection, path) }];
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  });
  if (readable.length === 0)
    throw invalid(connection, `none of the files in ${KUBE_CONFIG_ENV_VAR} exists: ${listed.join(', ')}`);
  return { files: readable.map(({ file }) => file), paths: readable.map(({ path }) => path) };
}

function isMissing(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error && 'code' in cause && cause.code === 'ENOENT';
}

function fileAt(connection: string, path: string): KubeconfigFile {
  try {
    return kubeconfigFile(path);
  } catch (error) {
    throw invalid(connection, `kubeconfig ${path} cannot be used: ${messageOf(error)}`, error);
  }
}
