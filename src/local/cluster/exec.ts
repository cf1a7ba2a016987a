/**
 * `GET …/pods/{name}/exec` over WebSocket: the channels of one command in a running container.
 * @see https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
 */
import type { IncomingMessage } from 'node:http';
import type { Duplex, Readable } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import type { ExecProcess } from './exec-process.ts';
import { ApiFailure, badRequest, statusOf } from './failure.ts';
import { type JsonObject, listAt, textAt, type KubeObject } from './objects.ts';

/** The command that a client wants to run. */
export interface ExecRequest {
  readonly container: string;
  readonly command: readonly string[];
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

/** Supported sub-protocols, preferred first. v5 lets a client close stdin. */
const PROTOCOLS = ['v5.channel.k8s.io', 'v4.channel.k8s.io'] as const;
/** First byte of each message. */
const CHANNEL = { stdin: 0, stdout: 1, stderr: 2, status: 3, close: 255 } as const;
/** When a client does not read its output, the command waits. */
const MAX_UNSENT_BYTES = 1024 * 1024;

const sockets = new WebSocketServer({
  noServer: true,
  clientTracking: false,
  handleProtocols: (offered) => PROTOCOLS.find((protocol) => offered.has(protocol)) ?? false,
});

/** Parses an exec request. @throws ApiFailure 400 with the real server's messages */
export function execRequestOf(pod: KubeObject, query: URLSearchParams): ExecRequest {
  const { name } = pod.metadata;
  const on = (key: string): boolean => ['1', 'true'].includes(query.get(key) ?? '');
  const command = query.getAll('command');
  if (command.length === 0) throw badRequest('you must specify a command for the container');
  const streams = { stdin: on('stdin'), stdout: on('stdout'), stderr: on('stderr'), tty: on('tty') };
  if (!streams.stdin && !streams.stdout && !streams.stderr)
    throw badRequest('you must specify at least 1 of stdin, stdout, stderr');
  const containers = [...listAt(pod, 'spec', 'containers'), ...listAt(pod, 'spec', 'initContainers')].map((one) =>
    textAt(one, 'name'),
  );
  const asked = query.get('container') ?? '';
  const mains = listAt(pod, 'spec', 'containers');
  if (asked === '' && mains.length > 1)
    throw badRequest(
      `a container name must be specified for pod ${name}, choose one of: [${mains.map((one) => textAt(one, 'name')).join(' ')}]`,
    );
  const container = asked === '' ? textAt(mains[0], 'name') : asked;
  if (!containers.includes(container)) throw badRequest(`container ${container} is not valid for pod ${name}`);
  if (textAt(pod, 'spec', 'nodeName') === '') throw badRequest(`pod ${name} does not have a host assigned`);
  return { container, command, ...streams };
}

/**
 * Answers an upgrade. `begin` starts the command; when it returns undefined, the container is not running, which is reported on the status
 * channel, as by the real server. `loseEnd`: the connection is cut when the command has ended, before its status is sent.
 * @throws ApiFailure 400 when the client supports none of the sub-protocols
 */
export function acceptExec(
  upgrade: { readonly request: IncomingMessage; readonly socket: Duplex; readonly head: Buffer },
  asked: ExecRequest,
  begin: () => ExecProcess | undefined,
  loseEnd: boolean,
): void {
  const offered = (upgrade.request.headers['sec-websocket-protocol'] ?? '').split(',').map((one) => one.trim());
  if (!PROTOCOLS.some((protocol) => offered.includes(protocol)))
    throw badRequest(`unable to upgrade: no sub-protocol in common; served are ${PROTOCOLS.join(', ')}`);
  sockets.handleUpgrade(upgrade.request, upgrade.socket, upgrade.head, (client) => {
    client.on('error', () => {
      client.terminate();
    });
    const running = begin();
    if (running === undefined) {
      const message = `unable to upgrade connection: container not found ("${asked.container}")`;
      sendStatus(client, statusOf(new ApiFailure(500, 'InternalError', `Internal error occurred: ${message}`)));
      client.close(1000);
    } else void serve(client, asked, running, loseEnd);
  });
}

async function serve(client: WebSocket, asked: ExecRequest, running: ExecProcess, loseEnd: boolean): Promise<void> {
  client.on('message', (data, isBinary) => {
    const message = Buffer.isBuffer(data) ? data : Buffer.alloc(0);
    const channel = message[0];
    if (channel === CHANNEL.stdin) running.stdin?.write(message.subarray(1));
    else if (isBinary && channel === CHANNEL.close && message[1] === CHANNEL.stdin) running.stdin?.end();
  });
  // A client that has disconnected reads and writes no more; closing the streams notifies the command.
  client.once('close', () => {
    running.stdin?.end();
    running.stdout.destroy();
    running.stderr?.destroy();
  });
  const [exitCode, problem] = await Promise.all([
    running.ended,
    running.problem,
    pump(running.stdout, client, CHANNEL.stdout, asked.stdout),
    running.stderr === undefined ? undefined : pump(running.stderr, client, CHANNEL.stderr, asked.stderr),
  ]);
  if (loseEnd) {
    client.terminate();
    return;
  }
  sendStatus(client, endOf(asked.command, exitCode, problem));
  client.close(1000);
}

async function pump(from: Readable, client: WebSocket, channel: number, wanted: boolean): Promise<void> {
  try {
    for await (const chunk of from) {
      if (!wanted || !(chunk instanceof Uint8Array) || client.readyState !== client.OPEN) continue;
      const sent = new Promise<void>((resolve) => {
        client.send(Buffer.concat([Buffer.of(channel), chunk]), () => {
          resolve();
        });
      });
      if (client.bufferedAmount > MAX_UNSENT_BYTES) await sent;
    }
  } catch {
    // The client has disconnected, which closed the pipe.
  }
}

function sendStatus(client: WebSocket, status: JsonObject): void {
  if (client.readyState !== client.OPEN) return;
  client.send(Buffer.concat([Buffer.of(CHANNEL.status), Buffer.from(JSON.stringify(status))]));
}

/**
 * The status message of a command's end.
 * @see https://github.com/kubernetes/kubelet/blob/master/pkg/cri/streaming/remotecommand
 */
function endOf(command: readonly string[], exitCode: number, problem: string | undefined): JsonObject {
  if (problem !== undefined) {
    const why = `error executing command in container: failed to exec in container: failed to start exec: OCI runtime exec failed: exec failed: unable to start container process: ${problem}: unknown`;
    return {
      ...{ metadata: {}, status: 'Failure', reason: 'InternalError', code: 500 },
      message: `Internal error occurred: ${why}`,
      details: { causes: [{ message: why }] },
    };
  }
  if (exitCode === 0) return { metadata: {}, status: 'Success' };
  return {
    ...{ metadata: {}, status: 'Failure', reason: 'NonZeroExitCode' },
    message: `command terminated with non-zero exit code: error executing command [${command.join(' ')}], exit code ${String(exitCode)}`,
    details: { causes: [{ reason: 'ExitCode', message: String(exitCode) }] },
  };
}
