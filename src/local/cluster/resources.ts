/** One kind of object that the server stores. */
export interface Resource {
  /** Plural name, as in paths. */
  readonly name: string;
  readonly singular: string;
  readonly kind: string;
  readonly shortNames: readonly string[];
  readonly namespaced: boolean;
  readonly subresources: readonly string[];
}

function resource(
  name: string,
  kind: string,
  shortNames: readonly string[],
  namespaced: boolean,
  subresources: readonly string[] = [],
): Resource {
  return { name, kind, singular: kind.toLowerCase(), shortNames, namespaced, subresources };
}

/** All resources of this server, of the core group; all in `v1`. */
export const RESOURCES: readonly Resource[] = [
  resource('configmaps', 'ConfigMap', ['cm'], true),
  resource('events', 'Event', ['ev'], true),
  resource('namespaces', 'Namespace', ['ns'], false),
  resource('nodes', 'Node', ['no'], false),
  resource('pods', 'Pod', ['po'], true, ['log', 'status', 'eviction', 'exec']),
  resource('secrets', 'Secret', [], true),
  resource('serviceaccounts', 'ServiceAccount', ['sa'], true),
];

/** The resource of that plural name, undefined when there is none. */
export function resourceOf(name: string): Resource | undefined {
  return RESOURCES.find((candidate) => candidate.name === name);
}
