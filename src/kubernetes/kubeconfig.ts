/** From a connection's settings to the server, the trust and the user that it names. Files are read now; nothing is sent. */
import { existsSync, readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { defaultNamespace } from '../core/pod/names.ts';
import { ReentryError } from '../errors.ts';
import { type ImpersonationHeaders, impersonationOf } from './impersonation.ts';
import {
  type ClusterEntry,
  clusterOf,
  type Entry,
  type KubeconfigFile,
  kubeconfigFile,
  scalarIn,
  type UserEntry,
  userOf,
} from './kubeconfig-file.ts';
import { type ConnectionSettings, KUBE_CONFIG_ENV_VAR } from './settings.ts';

/** Environment that a kubeconfig is found by and that credential plugins inherit. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** What a connection's settings come to. */
export interface Target {
  readonly cluster: ClusterEntry;
  /** Its `tokenFile` is read again before a token expires: a pod's service account has one. */
  readonly user: UserEntry;
  readonly impersonation: ImpersonationHeaders;
  readonly namespace: string;
}

const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

/** Resolves a connection. @throws ReentryError CONFIG_INVALID saying which file, context or entry is missing. */
export function targetOf(connection: string, settings: ConnectionSettings, env: Environment): Target {
  return settings.inCluster === true || isOnlyInCluster(settings, env)
    ? inCluster(connection, settings, env)
    : fromFiles(connection, settings, env);
}

/** As other tools do: a pod without any kubeconfig uses its service account. */
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
    invalid(connection, `context "${name}" names ${what} "${entry}", which is not there`);
  const clusterName = scalarIn(context.fields, 'cluster');
  if (clusterName === undefined) throw invalid(connection, `context "${name}" names no cluster`);
  const clusterEntry = named(
    files.flatMap(({ clusters }) => clusters),
    clusterName,
  );
  if (clusterEntry === undefined) throw missing('cluster', clusterName);
  const cluster = clusterOf(clusterEntry);
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

function impersonated(connection: string, user: Entry): ImpersonationHeaders {
  try {
    return impersonationOf(user.fields);
  } catch (error) {
    throw invalid(connection, `user "${user.name}" cannot be used: ${wordsOf(error)}`, error);
  }
}

/** The first to name a thing wins. */
function named(entries: readonly Entry[], name: string): Entry | undefined {
  return entries.find((one) => one.name === name);
}

interface Found {
  readonly files: readonly KubeconfigFile[];
  readonly paths: readonly string[];
}

function filesOf(connection: string, settings: ConnectionSettings, env: Environment): Found {
  const split = (list: string): readonly string[] => list.split(delimiter).filter((path) => path !== '');
  const told = settings.kubeconfig ? split(settings.kubeconfig) : [];
  if (told.length > 0) return { files: told.map((path) => fileAt(connection, path)), paths: told };
  const listed = split(env[KUBE_CONFIG_ENV_VAR] ?? '');
  if (listed.length === 0) {
    const path = join(homedir(), '.kube', 'config');
    return { files: [fileAt(connection, path)], paths: [path] };
  }
  // Shells list files there that come and go: one that is not there says nothing, as for kubectl.
  const found = listed.flatMap((path) => {
    try {
      return [{ path, file: fileAt(connection, path) }];
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  });
  if (found.length === 0) throw invalid(connection, `no file of ${KUBE_CONFIG_ENV_VAR} is there: ${listed.join(', ')}`);
  return { files: found.map(({ file }) => file), paths: found.map(({ path }) => path) };
}

function isMissing(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error && 'code' in cause && cause.code === 'ENOENT';
}

function fileAt(connection: string, path: string): KubeconfigFile {
  try {
    return kubeconfigFile(path);
  } catch (error) {
    throw invalid(connection, `kubeconfig ${path} cannot be used: ${wordsOf(error)}`, error);
  }
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
