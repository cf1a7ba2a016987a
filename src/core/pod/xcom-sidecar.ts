/**
 * The XCom sidecar of a pod's manifest: a second container that outlives the base container, so that its result file can be
 * read over exec. Pure; reading and ending it is `operator/xcom.ts`. @see spec pod-operator §2.6, errata 7
 */
import { type JsonRecord, recordsIn } from '../json.ts';

/** Names and commands of the exchange, once: the manifest and the exec both speak them. */
export const XCOM = {
  /** Name of the sidecar. Kept from the seed: tools and people look for it. */
  container: 'airflow-xcom-sidecar',
  volume: 'xcom',
  /** Where the volume stands in both containers. */
  mountPath: '/airflow/xcom',
  /** The file that the base container writes its result to, as JSON. */
  resultFile: '/airflow/xcom/return.json',
  /** What the sidecar answers for a missing or empty file (the seed's `EMPTY_XCOM_RESULT`). */
  emptyResult: '__airflow_xcom_result_empty__',
  /** Used where the connection names no other. */
  image: 'alpine:3.24.2',
  /**
   * Waits to be told to go: SIGINT ends it with exit code 0. So does SIGTERM, unlike in the seed: as process 1 it would let a deleted pod
   * wait out its whole grace period.
   */
  command: ['sh', '-c', 'trap "exit 0" INT TERM; while true; do sleep 1; done;'],
  /** Used where the connection names no others. */
  resources: { requests: { cpu: '1m', memory: '10Mi' } },
} as const;

/** What a connection or a request may say about the sidecar. */
export interface XcomSidecarSettings {
  /** The connection's `xcom_sidecar_container_image`. */
  readonly image?: string | undefined;
  /** The connection's `xcom_sidecar_container_resources`; replaces the default whole. */
  readonly resources?: JsonRecord | undefined;
  /** The request's, else the connection's. An empty one is one: it says "no settings". */
  readonly securityContext?: JsonRecord | undefined;
}

const imageOf = ({ image }: XcomSidecarSettings): string => (image === undefined || image === '' ? XCOM.image : image);

const listIn = (value: JsonRecord, key: string): readonly unknown[] => {
  const list: unknown = value[key];
  return Array.isArray(list) ? list : [];
};

/** The volume as both containers have it. */
const XCOM_MOUNT = { name: XCOM.volume, mountPath: XCOM.mountPath } as const;

/** The volume of a pod that has none of that name. */
const XCOM_VOLUME = { name: XCOM.volume, emptyDir: {} } as const;

/** Whether an entry of `volumes` is the one that comes with the sidecar. */
export const isXcomVolume = (entry: unknown): boolean => JSON.stringify(entry) === JSON.stringify(XCOM_VOLUME);

/** Whether an entry of `volumeMounts` is the one that comes with the sidecar. */
export const isXcomMount = (entry: unknown): boolean => JSON.stringify(entry) === JSON.stringify(XCOM_MOUNT);

/** A pod spec with the sidecar: volume and the base container's mount first, the container last. The spec given is left as it was. */
export function addXcomSidecar(
  spec: JsonRecord,
  { image, resources, securityContext }: XcomSidecarSettings = {},
): JsonRecord {
  const sidecar: JsonRecord = {
    name: XCOM.container,
    image: imageOf({ image }),
    command: XCOM.command,
    resources: resources ?? XCOM.resources,
    volumeMounts: [XCOM_MOUNT],
    ...(securityContext === undefined ? {} : { securityContext }),
  };
  // A spec that was exported from a pod of ours has a sidecar and its mount already; two of a name are refused.
  const others = recordsIn(spec, 'containers').filter(({ name }) => name !== XCOM.container);
  const containers = others.map((container, index) => {
    const mounts = listIn(container, 'volumeMounts');
    return index > 0 || mounts.some(isXcomMount) ? container : { ...container, volumeMounts: [XCOM_MOUNT, ...mounts] };
  });
  return {
    ...spec,
    // A volume of the user's with this name is the one that both containers mount: two of a name are refused.
    volumes: recordsIn(spec, 'volumes').some(({ name }) => name === XCOM.volume)
      ? listIn(spec, 'volumes')
      : [XCOM_VOLUME, ...listIn(spec, 'volumes')],
    containers: [...containers, sidecar],
  };
}

/** What a sidecar of ours has; as which user it runs is the request's to say. */
const SIDECAR_FIELDS: ReadonlySet<string> = new Set([
  'name',
  'image',
  'command',
  'resources',
  'volumeMounts',
  'securityContext',
]);

/**
 * Whether a container is the sidecar as shipped or as the connection configures it: then it runs nothing of the user's, whoever wrote it into
 * the manifest. Any other field could make it: a probe and a hook run commands, a mount can stand where its shell is looked for.
 */
export function isOwnSidecar(container: JsonRecord, configured: XcomSidecarSettings = {}): boolean {
  const isPlain = Object.entries(container).every(
    ([field, value]) => SIDECAR_FIELDS.has(field) || value === undefined || value === null,
  );
  const { name, image, command, resources, volumeMounts } = container;
  const its = JSON.stringify([name, image, command, resources, volumeMounts]);
  return isPlain && [{}, configured].some((settings) => its === JSON.stringify(partsOf(settings)));
}

const partsOf = (settings: XcomSidecarSettings): readonly unknown[] => [
  XCOM.container,
  imageOf(settings),
  XCOM.command,
  settings.resources ?? XCOM.resources,
  [XCOM_MOUNT],
];
