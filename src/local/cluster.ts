import { randomBytes } from 'node:crypto';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { isAbsolute, join, resolve } from 'node:path';
import { certificateForLoopback } from './cluster/certificate.ts';
import type { Disturbable, Interference } from './cluster/interference.ts';
import { Kubelet } from './cluster/kubelet.ts';
import { sendPodLog } from './cluster/pod-log.ts';
import { Sandboxes } from './cluster/sandbox.ts';
import { apiServer } from './cluster/server.ts';
import { Store } from './cluster/store.ts';
import { Watches } from './cluster/watches.ts';
import { createNamespace } from './cluster/writing.ts';

/** Settings of a local cluster. */
export interface LocalClusterOptions {
  /** Directory of its files; created when missing. Containers that an earlier cluster of this directory left running are ended. */
  readonly directory: string;
  /** TCP port on 127.0.0.1. Default: any free one. */
  readonly port?: number;
  /** Receives messages for people. Default: none. */
  readonly log?: (message: string) => void;
  /** Interval of bookmarks. Default 60 s, as in the real server. */
  readonly bookmarkMs?: number;
  /** How many changes of a resource a watch can resume over. Default 10,000. */
  readonly historyEvents?: number;
  /** Size at which a container's log file is rotated. Default 10 MiB, as in the kubelet. */
  readonly logMaxBytes?: number;
  /** First wait before a failing container is restarted. Default 10 s, as in the kubelet. */
  readonly restartBackoffMs?: number;
  /** For tests of clients: called once with the running cluster; the result is consulted for each request. Default: none. */
  readonly interference?: (cluster: Disturbable) => Interference;
}

/** A running local cluster. Disposing it ends its containers. */
export interface LocalCluster extends AsyncDisposable {
  /** URL of its Kubernetes API, e.g. `https://127.0.0.1:40123`. */
  readonly url: string;
  /** The bearer token; it grants everything. */
  readonly token: string;
  /** Its certificate, which is its own authority. PEM. */
  readonly ca: string;
  /** Path of a kubeconfig with URL, certificate and token. */
  readonly kubeconfigPath: string;
}

/**
 * Starts a small Kubernetes on this machine: an API server over HTTPS on loopback, and one node that runs containers as processes, each in
 * its own namespaces with the programs of this machine. Linux only; needs no root.
 *
 * Images are names only: nothing is pulled, and `missing/*` cannot be pulled. There are no resource limits, no probes, no lifecycle hooks,
 * no pod network (pods share the machine's) and no users but root inside. The annotations `local.reentry.dev/run-for` (seconds) and
 * `…/exit-code` make a pod that runs no process.
 * @throws Error when this machine cannot run containers, or the port is taken
 */
export async function startLocalCluster(options: LocalClusterOptions): Promise<LocalCluster> {
  if (process.platform !== 'linux')
    throw new Error(
      `the local cluster needs Linux, and this is ${process.platform}: use a real Kubernetes cluster instead`,
    );
  const directory = isAbsolute(options.directory) ? options.directory : resolve(options.directory);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const sandboxes = await Sandboxes.open(directory);

  const token = randomBytes(24).toString('base64url');
  const certificate = await certificateForLoopback();
  const store = new Store(options.historyEvents ?? 10_000);
  for (const name of ['default', 'kube-system', 'kube-public', 'kube-node-lease']) createNamespace(store, name);
  const rotation = { maxBytes: options.logMaxBytes ?? 10 * 1024 * 1024, maxFiles: 5 };
  const kubelet = new Kubelet({
    store,
    sandboxes,
    directory,
    token,
    rotation,
    restartBackoffMs: options.restartBackoffMs ?? 10_000,
  });
  await kubelet.start();
  const watches = new Watches(store, options.bookmarkMs ?? 60_000);
  const server = apiServer({
    ...{ store, watches, token, certificate },
    interference: options.interference?.({
      closeWatches: (how) => {
        watches.close(how);
      },
      freezeWatches: (ms) => {
        watches.freeze(ms);
      },
      sendBookmarks: () => {
        watches.bookmark();
      },
      expireHistory: () => {
        store.expireHistory();
      },
    }),
    exec: (pod, { container, command, stdin, tty }) =>
      kubelet.exec(pod.metadata.uid, container, command, { stdin, tty }),
    sendLog: (pod, query, response) => {
      sendPodLog(pod, query, response, (container, previous) => kubelet.logOf(pod.metadata.uid, container, previous));
    },
  });

  const connections = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    connections.add(socket);
    socket.once('close', () => connections.delete(socket));
  });
  const port = await new Promise<number>((resolvePort, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, '127.0.0.1', () => {
      const address = server.address();
      resolvePort(typeof address === 'object' && address !== null ? address.port : 0);
    });
  });
  const url = `https://127.0.0.1:${String(port)}`;
  const kubeconfigPath = join(directory, 'kubeconfig');
  await writeFile(kubeconfigPath, kubeconfig(url, certificate.cert, token), { mode: 0o600 });
  // `mode` applies to new files only.
  await chmod(kubeconfigPath, 0o600);
  options.log?.(`local cluster at ${url}, kubeconfig ${kubeconfigPath}`);

  return {
    ...{ url, token, ca: certificate.cert, kubeconfigPath },
    async [Symbol.asyncDispose]() {
      watches.close('end');
      const closed = new Promise<void>((resolveClosed) =>
        server.close(() => {
          resolveClosed();
        }),
      );
      await kubelet.stop();
      for (const socket of connections) socket.destroy();
      await closed;
    },
  };
}

function kubeconfig(server: string, ca: string, token: string): string {
  const name = 'reentry-local';
  return `${JSON.stringify(
    {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name, cluster: { server, 'certificate-authority-data': Buffer.from(ca).toString('base64') } }],
      users: [{ name, user: { token } }],
      contexts: [{ name, context: { cluster: name, user: name, namespace: 'default' } }],
      'current-context': name,
    },
    undefined,
    2,
  )}\n`;
}
