/** From a connection's settings to the server, the trust and the user that it names. Files are read now; nothing is sent. */
import { existsSync, readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { homedir } from 'node:os';
import { delimiter, dirname, isAbsolute, join } from 'node:path';
// The library's own reader of kubeconfig entries; its whole costs 0.5 s and 85 MB of memory, this file 7 ms.
import {
  type Cluster as ClusterEntry,
  type User,
  newClusters,
  newContexts,
  newUsers,
} from '@kubernetes/client-node/dist/config_types.js';
import { parse } from 'yaml';
import { defaultNamespace } from '../core/namespace.ts';
import { isRecord, textIn } from '../core/json.ts';
import { ReentryError } from '../errors.ts';
import { type ConnectionSettings, KUBE_CONFIG_ENV_VAR } from './settings.ts';

/** Environment that a kubeconfig is found by and that credential plugins inherit. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** What a connection's settings come to. */
export interface Target {
  readonly cluster: ClusterEntry;
  readonly user: User;
  /** The service account's token of a pod; re-read before it expires. */
  readonly tokenFile?: string;
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
    user: { name: 'in-cluster' },
    tokenFile: `${ACCOUNT}/token`,
    namespace: defaultNamespace(settings.namespace, own),
  };
}

/** The user entry as written: the library's reader knows `tokenFile` only by another shape. */
interface Entries {
  readonly clusters: readonly ClusterEntry[];
  readonly users: readonly (User & { readonly tokenFile?: string })[];
  readonly contexts: ReturnType<typeof newContexts>;
  readonly current: string | undefined;
}

function fromFiles(connection: string, settings: ConnectionSettings, env: Environment): Target {
  const listed = settings.kubeconfig ?? env[KUBE_CONFIG_ENV_VAR];
  const paths = listed ? listed.split(delimiter).filter((path) => path !== '') : [join(homedir(), '.kube', 'config')];
  const files = paths.map((path) => entriesOf(connection, path));
  const name = settings.context ?? files.find(({ current }) => current !== undefined)?.current;
  if (name === undefined) throw invalid(connection, `${paths.join(', ')} names no current context; name one`);
  const contexts = files.flatMap(({ contexts }) => contexts);
  const context = contexts.find((one) => one.name === name);
  if (context === undefined) {
    const known = contexts.map((one) => one.name).join(', ');
    throw invalid(connection, `${paths.join(', ')} has no context "${name}"; it has: ${known || 'none'}`);
  }
  const cluster = files.flatMap(({ clusters }) => clusters).find((one) => one.name === context.cluster);
  if (cluster === undefined)
    throw invalid(connection, `context "${name}" names cluster "${context.cluster}", which is not there`);
  if (!/^https?:\/\//.test(cluster.server))
    throw invalid(connection, `cluster "${cluster.name}" has no http(s) server address`);
  const user = files.flatMap(({ users }) => users).find((one) => one.name === context.user) ?? { name: context.user };
  const tokenFile = 'tokenFile' in user ? user.tokenFile : undefined;
  return {
    cluster,
    user,
    ...(tokenFile === undefined ? {} : { tokenFile }),
    namespace: defaultNamespace(settings.namespace, context.namespace),
  };
}

function entriesOf(connection: string, path: string): Entries {
  try {
    const raw: unknown = parse(readFileSync(path, 'utf8'));
    const file = isRecord(raw) ? raw : {};
    const folder = dirname(path);
    const at = (name: string): string => (isAbsolute(name) ? name : join(folder, name));
    const listIn = (key: string): unknown => file[key] ?? [];
    const tokenFiles = new Map<string, string>();
    const users = listIn('users');
    for (const entry of Array.isArray(users) ? users : []) {
      const name = textIn(entry, 'name');
      const tokenFile = isRecord(entry) ? textIn(entry['user'], 'tokenFile') : undefined;
      if (name !== undefined && tokenFile !== undefined) tokenFiles.set(name, at(tokenFile));
    }
    return {
      clusters: newClusters(listIn('clusters')).map((one) => ({
        ...one,
        ...(one.caFile === undefined ? {} : { caFile: at(one.caFile) }),
      })),
      users: newUsers(listIn('users')).map((one) => {
        const tokenFile = tokenFiles.get(one.name);
        return {
          ...one,
          ...(one.certFile === undefined ? {} : { certFile: at(one.certFile) }),
          ...(one.keyFile === undefined ? {} : { keyFile: at(one.keyFile) }),
          ...(tokenFile === undefined ? {} : { tokenFile }),
        };
      }),
      contexts: newContexts(listIn('contexts')),
      current: textIn(file, 'current-context'),
    };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw invalid(connection, `kubeconfig ${path} cannot be used: ${why}`, error);
  }
}
