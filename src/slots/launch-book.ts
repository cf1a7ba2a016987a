import type { RunKey } from '../wire/subjects.ts';

/** Told when a launch's pod is there. */
export type Launched = (queue: string, run: RunKey, pod: { readonly uid: string }) => void;

/** Between the operator, which makes pods, and the role, which counts them: the operator is made first. */
export class LaunchBook {
  #listener: Launched | undefined;

  /** The pod of a run is there. */
  readonly created: Launched = (queue, run, pod) => this.#listener?.(queue, run, pod);

  /** From now on `listener` is told. */
  listen(listener: Launched): void {
    this.#listener = listener;
  }
}
