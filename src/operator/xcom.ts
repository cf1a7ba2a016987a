/** The exchange with the result sidecar: its file is read through `pods/exec`, then the sidecar is ended. */
import { jsonProblem } from '../core/json-problem.ts';
import type { ContainerProjection, PodRef } from '../core/pod/projection.ts';
import { XCOM } from '../core/pod/xcom-sidecar.ts';
import { KubernetesError, ReentryError } from '../errors.ts';
import type { Log } from '../ports/ambient.ts';
import type { Cluster, ExecOutcome } from '../ports/cluster.ts';

/** Limit of a result read from a sidecar, in bytes. */
const MAX_RESULT_BYTES = 16 * 1024 * 1024;
/** Time-out of reading the file: a slow connection and a busy node may need it. */
const READ_MS = 60_000;
const KILL_MS = 15_000;

/** Why there is no result: the file is not JSON, is too large, or cannot be read. */
export type XComProblem = 'invalid' | 'tooLarge' | 'unreadable';

/** The sidecar has no usable result. Not transient: another read gives the same. */
export class XComRetrievalError extends ReentryError {
  readonly problem: XComProblem;

  constructor(problem: XComProblem, message: string, cause?: unknown) {
    super('KUBERNETES', message, { transient: false, cause });
    this.problem = problem;
  }
}

/** A command in the sidecar failed. */
export class PodCommandException extends ReentryError {
  constructor(message: string, cause?: unknown) {
    super('KUBERNETES', message, { transient: false, cause });
  }
}

/** A pod with a result sidecar. */
export interface XComExchange {
  readonly cluster: Cluster;
  readonly pod: PodRef;
  readonly log: Log;
  /** Default `MAX_RESULT_BYTES`. */
  readonly maxBytes?: number;
}

/** Prints the result file, and its length on stderr, so that a truncated stream is detected. */
const READ = `if [ -s ${XCOM.resultFile} ]; then cat ${XCOM.resultFile} && wc -c <${XCOM.resultFile} >&2; else echo ${XCOM.emptyResult}; fi`;

/**
 * Interrupts the sidecar's shell. It is process 1, except in a pod with a shared process namespace: there the shell is found by its command line. Where
 * `/proc` is not this container's own, process 1 is interrupted.
 */
const KILL = `read -r self rest </proc/self/stat
if [ "$self" != "$$" ]; then kill -2 1; exit; fi
found=
for d in /proc/[0-9]*; do
  p=\${d#/proc/}
  [ "$p" != "$$" ] && [ -O "$d" ] || continue
  case "$(tr '\\0' ' ' <"$d/cmdline" 2>/dev/null)" in
    *'trap "exit'' 0"'*) kill -2 "$p" && found=yes ;;
  esac
done
[ -n "$found" ] || kill -2 1`;

const shell = (script: string): readonly string[] => ['/bin/sh', '-c', script];

/**
 * The result of a pod, or `XCOM.emptyResult`. Ends the sidecar afterwards, except after a transient error.
 * @throws XComRetrievalError where there is no usable result, KubernetesError for transient errors
 */
export async function extractXcom(exchange: XComExchange): Promise<string> {
  let text: string;
  try {
    text = await extractXcomJson(exchange);
  } catch (error) {
    if (error instanceof XComRetrievalError) await endAnyhow(exchange);
    throw error;
  }
  await endAnyhow(exchange);
  return text;
}

/** Ends the sidecar; a failure is logged only, since the result has been read. */
async function endAnyhow(exchange: XComExchange): Promise<void> {
  try {
    await endSidecar(exchange);
  } catch (error) {
    exchange.log.warn({ pod: exchange.pod.name, err: error }, 'the result sidecar could not be ended');
  }
}

/**
 * Ends the sidecar. `false`: it cannot be ended, and a warning was logged.
 * @throws KubernetesError for transient errors
 */
export async function endSidecar(exchange: XComExchange): Promise<boolean> {
  try {
    await extractXcomKill(exchange);
    return true;
  } catch (error) {
    const cause = error instanceof PodCommandException ? error.cause : error;
    if (cause instanceof KubernetesError && (cause.transient || cause.fault === 'unauthorized')) throw cause;
    exchange.log.warn({ pod: exchange.pod.name, err: error }, 'the result sidecar could not be ended');
    return false;
  }
}

/**
 * The text of the result file, which is JSON. `XCOM.emptyResult` where the file is missing or empty.
 * @throws XComRetrievalError, KubernetesError as above
 */
export async function extractXcomJson({ cluster, pod, maxBytes = MAX_RESULT_BYTES }: XComExchange): Promise<string> {
  let outcome: ExecOutcome;
  try {
    const command = shell(READ);
    outcome = await cluster.exec(pod, { container: XCOM.container, command, timeoutMs: READ_MS, maxBytes });
  } catch (error) {
    if (!(error instanceof KubernetesError) || error.fault === 'unauthorized') throw error;
    if (error.transient && !isNotRunning(error)) throw error;
    throw new XComRetrievalError('unreadable', `the result sidecar does not answer: ${error.message}`, error);
  }
  if (outcome.kind === 'tooLarge')
    throw new XComRetrievalError('tooLarge', `it is larger than ${String(outcome.maxBytes)} bytes`);
  const stderr = outcome.stderr.trim();
  if (outcome.exitCode !== 0) {
    const why = `reading ${XCOM.resultFile} ended with ${String(outcome.exitCode)}${stderr === '' ? '' : `: ${stderr.slice(0, 300)}`}`;
    throw new XComRetrievalError('unreadable', why);
  }
  const { byteLength } = outcome.stdout;
  if (/^\d+$/.test(stderr) && Number(stderr) !== byteLength)
    throw new XComRetrievalError('unreadable', `${String(byteLength)} of ${stderr} bytes arrived`);
  const text = textOf(outcome.stdout);
  if (text === '' || text.trimEnd() === XCOM.emptyResult) return XCOM.emptyResult;
  const problem = jsonProblem(text);
  if (problem === undefined) return text;
  const position = `line ${String(problem.line)}, column ${String(problem.column)} (offset ${String(problem.offset)})`;
  throw new XComRetrievalError('invalid', `${XCOM.resultFile} is not JSON: ${problem.what} at ${position}`);
}

/** Ends the sidecar, so that the pod can end. @throws PodCommandException */
export async function extractXcomKill({ cluster, pod }: Omit<XComExchange, 'log'>): Promise<void> {
  try {
    const options = { container: XCOM.container, command: shell(KILL), timeoutMs: KILL_MS };
    const outcome = await cluster.exec(pod, options);
    // 137: the command was killed together with the container that it ended.
    if (outcome.kind === 'ended' && (outcome.exitCode === 0 || outcome.exitCode === 137)) return;
    const output = outcome.kind === 'ended' ? outcome.stderr.trim().slice(0, 300) : 'too much output';
    throw new PodCommandException(`the result sidecar of pod ${pod.name} could not be ended: ${output}`);
  } catch (error) {
    // The end of the container closes the connection; a container that does not run needs no end.
    if (error instanceof KubernetesError && (error.fault === 'unknownOutcome' || isNotRunning(error))) return;
    if (error instanceof KubernetesError && error.fault === 'notFound') return;
    if (error instanceof PodCommandException) throw error;
    throw new PodCommandException(`the result sidecar of pod ${pod.name} could not be ended`, error);
  }
}

/** The result sidecar among a pod's containers. */
export function xcomSidecarOf(containers: readonly ContainerProjection[]): ContainerProjection | undefined {
  return containers.find(({ name, kind }) => kind === 'main' && name === XCOM.container);
}

/** A node reports a container that does not run as its own (transient) failure; another try cannot help. */
function isNotRunning({ message }: KubernetesError): boolean {
  return /container not found|is not running|container .* is not created or running/i.test(message);
}

function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new XComRetrievalError('invalid', `${XCOM.resultFile} is not UTF-8`);
  }
}
