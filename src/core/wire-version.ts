/** Version of internal messages and states. Readers accept one version below to one above. */
export const WIRE_VERSION = 1;
