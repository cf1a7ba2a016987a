/** Where the watches of a process stand, by namespace. @see spec executor §4.3 */

/**
 * One for the process: making another gives the same. The shared watch keeps its own place and lists anew when that has expired, so nothing is ever
 * replayed from "0"; this says how far results have come.
 */
export class ResourceVersion {
  static #only: ResourceVersion | undefined;
  /** The newest version of which something was heard, by namespace. */
  readonly resourceVersion: Record<string, string> = {};

  constructor() {
    if (ResourceVersion.#only !== undefined) return ResourceVersion.#only;
    ResourceVersion.#only = this;
  }
}
