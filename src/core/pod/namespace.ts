/** The namespace where neither parameters nor template name one: the first of the connection's own places that does, else `default`. @see spec pod-operator §2.5 */
export function defaultNamespace(...places: readonly (string | null | undefined)[]): string {
  return places.map((place) => place?.trim()).find((place) => place !== undefined && place !== '') ?? 'default';
}
