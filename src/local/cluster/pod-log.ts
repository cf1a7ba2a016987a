import { badRequest } from './failure.ts';
import { type ApiResponse, breakOff, sendHead } from './http.ts';
import { at, listAt, textAt, type KubeObject } from './objects.ts';
import { LogReader, PREFIX_BYTES, STAMP_BYTES, type LogFile } from './log-file.ts';

const PARTIAL = 0x50;
const NEWLINE = 0x0a;

interface LogOptions {
  readonly timestamps: boolean;
  readonly follow: boolean;
  readonly since: string | undefined;
  readonly tailLines: number | undefined;
  readonly limitBytes: number | undefined;
}

/**
 * Answers `GET …/pods/{name}/log`.
 * @param find returns the log of the container's current or (`previous`) last run
 * @throws ApiFailure 400 in the same cases and with the same messages as the real server
 * @see https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#http-request-2
 */
export function sendPodLog(
  pod: KubeObject,
  query: URLSearchParams,
  response: ApiResponse,
  find: (container: string, previous: boolean) => LogFile | undefined,
): void {
  const container = containerOf(pod, query.get('container') ?? '');
  const previous = query.get('previous') === 'true';
  const options = optionsOf(query);
  const log = find(container, previous);
  if (log === undefined) requireStarted(pod, container, previous);
  sendHead(response, { 'content-type': 'text/plain' });
  if (log === undefined) response.end();
  else void stream(log, options, response);
}

function containerOf(pod: KubeObject, asked: string): string {
  const { name } = pod.metadata;
  const mains = listAt(pod, 'spec', 'containers').map((container) => textAt(container, 'name'));
  const inits = listAt(pod, 'spec', 'initContainers').map((container) => textAt(container, 'name'));
  if (asked !== '') {
    if (![...mains, ...inits].includes(asked)) throw badRequest(`container ${asked} is not valid for pod ${name}`);
    return asked;
  }
  if (mains.length === 1) return mains[0] ?? '';
  const choice = `choose one of: [${mains.join(' ')}]${inits.length === 0 ? '' : ` or one of the init containers: [${inits.join(' ')}]`}`;
  throw badRequest(`a container name must be specified for pod ${name}, ${choice}`);
}

/** @see validateContainerLogStatus in Kubernetes' pkg/kubelet/kubelet_pods.go */
function requireStarted(pod: KubeObject, container: string, previous: boolean): void {
  const { name } = pod.metadata;
  // Without a node there is no kubelet to ask; the real server then replies with an empty log.
  if (textAt(pod, 'spec', 'nodeName') === '') return;
  if (previous) throw badRequest(`previous terminated container "${container}" in pod "${name}" not found`);
  const statuses = [...listAt(pod, 'status', 'containerStatuses'), ...listAt(pod, 'status', 'initContainerStatuses')];
  const status = statuses.find((candidate) => textAt(candidate, 'name') === container);
  const reason = textAt(status, 'state', 'waiting', 'reason') || 'ContainerCreating';
  const why: Readonly<Record<string, string>> = {
    ErrImagePull: "image can't be pulled",
    ImagePullBackOff: 'trying and failing to pull image',
  };
  // Fake pods, and containers that could not be started, have no log.
  if (at(status, 'state', 'running') !== undefined || at(status, 'state', 'terminated') !== undefined) return;
  throw badRequest(`container "${container}" in pod "${name}" is waiting to start: ${why[reason] ?? reason}`);
}

function optionsOf(query: URLSearchParams): LogOptions {
  const number = (name: string, least: number): number | undefined => {
    const text = query.get(name);
    if (text === null || text === '') return undefined;
    if (!/^-?\d+$/u.test(text) || Number(text) < least)
      throw badRequest(`${name}: must be a number not below ${String(least)}, not "${text}"`);
    return Number(text);
  };
  const sinceSeconds = number('sinceSeconds', 1);
  const sinceTime = query.get('sinceTime') ?? '';
  const sinceMs = sinceTime === '' ? undefined : Date.parse(sinceTime);
  if (Number.isNaN(sinceMs)) throw badRequest(`sinceTime: "${sinceTime}" is no RFC 3339 time`);
  if (sinceSeconds !== undefined && sinceMs !== undefined)
    throw badRequest('at most one of sinceTime or sinceSeconds may be specified');
  const fromMs = sinceSeconds === undefined ? sinceMs : Date.now() - sinceSeconds * 1000;
  return {
    timestamps: query.get('timestamps') === 'true',
    follow: query.get('follow') === 'true',
    // The real server passes whole seconds on to the kubelet, which includes them.
    since: fromMs === undefined ? undefined : new Date(Math.floor(fromMs / 1000) * 1000).toISOString().slice(0, 19),
    tailLines: number('tailLines', 0),
    limitBytes: number('limitBytes', 1),
  };
}

async function stream(log: LogFile, options: LogOptions, response: ApiResponse): Promise<void> {
  const reader = new LogReader(log);
  let isClosed = false;
  const closed = new Promise<void>((resolve) =>
    response.once('close', () => {
      isClosed = true;
      resolve();
    }),
  );
  const drained = (): Promise<void> =>
    new Promise((resolve) =>
      response.once('drain', () => {
        resolve();
      }),
    );
  // A function, because it changes during every wait and TypeScript would narrow the variable.
  const isOpen = (): boolean => !isClosed;
  const renderer = new Renderer(options);
  let left = options.limitBytes ?? Infinity;
  try {
    let text = renderer.render(renderer.last(reader.read()));
    while (isOpen()) {
      const cut = text.length > left ? text.subarray(0, left) : text;
      left -= cut.length;
      if (cut.length > 0 && !response.write(cut)) await Promise.race([drained(), closed]);
      if (left <= 0 || !options.follow) break;
      const over = log.ended;
      text = renderer.render(reader.read());
      if (text.length > 0) continue;
      if (over) break;
      await Promise.race([log.changed(), closed]);
    }
    response.end();
  } catch {
    // The pod's files were removed while they were read: the client can only be given the end of the log.
    breakOff(response);
  } finally {
    reader.close();
  }
}

/** Converts stored lines to what a client receives. */
class Renderer {
  readonly #options: LogOptions;
  #midLine = false;

  constructor(options: LogOptions) {
    this.#options = options;
  }

  /** The last lines of `stored`, as requested by `tailLines`. */
  last(stored: Buffer): Buffer {
    const { tailLines } = this.#options;
    if (tailLines === undefined) return stored;
    if (tailLines === 0) return stored.subarray(stored.length);
    const starts: number[] = [];
    let joined = false;
    for (const [start] of storedLines(stored)) {
      if (!joined) starts.push(start);
      joined = stored[start + STAMP_BYTES + 1] === PARTIAL;
    }
    return stored.subarray(starts.at(-tailLines) ?? 0);
  }

  render(stored: Buffer): Buffer {
    const { timestamps, since } = this.#options;
    const out: Buffer[] = [];
    for (const [start, end] of storedLines(stored)) {
      const partial = stored[start + STAMP_BYTES + 1] === PARTIAL;
      if (since !== undefined && stored.toString('latin1', start, start + since.length) < since) continue;
      if (timestamps && !this.#midLine) out.push(stored.subarray(start, start + STAMP_BYTES + 1));
      out.push(stored.subarray(start + PREFIX_BYTES, partial ? end : end + 1));
      this.#midLine = partial;
    }
    return Buffer.concat(out);
  }
}

function* storedLines(stored: Buffer): Generator<readonly [start: number, end: number]> {
  let start = 0;
  for (;;) {
    const end = stored.indexOf(NEWLINE, start);
    if (end < 0) return;
    yield [start, end];
    start = end + 1;
  }
}
