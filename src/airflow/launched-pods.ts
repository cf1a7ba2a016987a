/** The latest pod of each running task, and the pods that were handled already: results arrive late and more than once. */
import type { NamedPod } from './pod-writes.ts';

/** A pod whose uid is known. */
export interface KnownPod extends NamedPod {
  readonly podUid: string;
}

interface Entry {
  /** Without uid: its creation was requested and has not been confirmed. */
  readonly pod: NamedPod;
  readonly atMs: number;
}

/** How many handled pods are remembered. */
const REMEMBERED = 10_000;

const nameOf = ({ podName, namespace, podUid }: NamedPod): string => podUid ?? `${namespace}/${podName}`;

const remember = (set: Set<string>, pod: NamedPod): void => {
  set.add(nameOf(pod));
  const [oldest] = set;
  if (set.size > REMEMBERED && oldest !== undefined) set.delete(oldest);
};

const isKnown = (pod: NamedPod): pod is KnownPod => pod.podUid !== undefined && pod.podUid !== '';

/** Pods by the `keyText` of their task. */
export class LaunchedPods {
  readonly #entries = new Map<string, Entry>();
  readonly #disposed = new Set<string>();
  readonly #accounted = new Set<string>();
  readonly #nowMs: () => number;

  /** @param nowMs monotonic milliseconds */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Sets a task's latest pod: launched or adopted (with uid), or requested (without). */
  set(id: string, pod: NamedPod): void {
    this.#entries.set(id, { pod, atMs: this.#nowMs() });
  }

  /** Whether the task has a pod, confirmed or requested. */
  has(id: string): boolean {
    return this.#entries.has(id);
  }

  /** The task's latest pod, if its existence is confirmed. */
  get(id: string): KnownPod | undefined {
    const pod = this.#entries.get(id)?.pod;
    return pod !== undefined && isKnown(pod) ? pod : undefined;
  }

  delete(id: string): void {
    this.#entries.delete(id);
  }

  /** All confirmed pods. */
  get all(): ReadonlyMap<string, KnownPod> {
    return new Map(this.olderThan(0));
  }

  /** Confirmed pods launched at least `ageMs` ago. */
  olderThan(ageMs: number): readonly (readonly [string, KnownPod])[] {
    const before = this.#nowMs() - ageMs;
    return [...this.#entries].flatMap(([id, { pod, atMs }]) =>
      atMs <= before && isKnown(pod) ? [[id, pod] as const] : [],
    );
  }

  /** Whether the task has a pod and `result` is about another one. */
  isAnother(id: string, result: NamedPod): boolean {
    const pod = this.#entries.get(id)?.pod;
    if (pod === undefined) return false;
    return pod.podUid === undefined || result.podUid === undefined
      ? pod.podName !== result.podName
      : pod.podUid !== result.podUid;
  }

  /** Remembers that the pod was deleted or labelled, which must not happen twice. */
  disposed(pod: NamedPod): void {
    remember(this.#disposed, pod);
  }

  isDisposed(pod: NamedPod): boolean {
    return this.#disposed.has(nameOf(pod));
  }

  /** Remembers that the pod's task has its event; later results of this pod are ignored. */
  accounted(pod: NamedPod): void {
    remember(this.#accounted, pod);
  }

  isAccounted(pod: NamedPod): boolean {
    return this.#accounted.has(nameOf(pod));
  }
}
