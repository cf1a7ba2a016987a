/** The pod of each running task, and the pods that have been dealt with: results come late and more than once. */
import type { NamedPod } from './pod-writes.ts';

/** A pod whose uid is known. */
export interface KnownPod extends NamedPod {
  readonly podUid: string;
}

interface Entry {
  /** Without uid: its creation was asked for, the answer is not here. */
  readonly pod: NamedPod;
  readonly atMs: number;
}

/** Pods that were dealt with are remembered up to this number. */
const REMEMBERED = 10_000;

const nameOf = ({ podName, namespace, podUid }: NamedPod): string => podUid ?? `${namespace}/${podName}`;

const remember = (set: Set<string>, pod: NamedPod): void => {
  set.add(nameOf(pod));
  const [oldest] = set;
  if (set.size > REMEMBERED && oldest !== undefined) set.delete(oldest);
};

const isKnown = (pod: NamedPod): pod is KnownPod => pod.podUid !== undefined && pod.podUid !== '';

/** By the text of a task's key. */
export class LaunchedPods {
  readonly #entries = new Map<string, Entry>();
  readonly #disposed = new Set<string>();
  readonly #accounted = new Set<string>();
  readonly #nowMs: () => number;

  /** `nowMs`: monotonic. */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** A task's newest pod: launched or adopted (with uid), or asked for. */
  set(id: string, pod: NamedPod): void {
    this.#entries.set(id, { pod, atMs: this.#nowMs() });
  }

  /** Whether a task has a newest pod. */
  has(id: string): boolean {
    return this.#entries.has(id);
  }

  /** The newest pod, where it is known to be there. */
  get(id: string): KnownPod | undefined {
    const pod = this.#entries.get(id)?.pod;
    return pod !== undefined && isKnown(pod) ? pod : undefined;
  }

  delete(id: string): void {
    this.#entries.delete(id);
  }

  /** Those that are known to be there. */
  get all(): ReadonlyMap<string, KnownPod> {
    return new Map(this.olderThan(0));
  }

  /** Launched at least `ageMs` ago. */
  olderThan(ageMs: number): readonly (readonly [string, KnownPod])[] {
    const before = this.#nowMs() - ageMs;
    return [...this.#entries].flatMap(([id, { pod, atMs }]) =>
      atMs <= before && isKnown(pod) ? [[id, pod] as const] : [],
    );
  }

  /** Whether a task has a newest pod and `result` is about another one. */
  isAnother(id: string, result: NamedPod): boolean {
    const pod = this.#entries.get(id)?.pod;
    if (pod === undefined) return false;
    return pod.podUid === undefined || result.podUid === undefined
      ? pod.podName !== result.podName
      : pod.podUid !== result.podUid;
  }

  /** The pod was deleted or marked: that is not done twice. */
  disposed(pod: NamedPod): void {
    remember(this.#disposed, pod);
  }

  isDisposed(pod: NamedPod): boolean {
    return this.#disposed.has(nameOf(pod));
  }

  /** Its task has had its event: whatever else is heard of the pod says nothing. */
  accounted(pod: NamedPod): void {
    remember(this.#accounted, pod);
  }

  isAccounted(pod: NamedPod): boolean {
    return this.#accounted.has(nameOf(pod));
  }
}
