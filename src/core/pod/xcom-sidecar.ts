/**
 * The XCom sidecar: a container that outlives the base container, so that the result file can be read over exec. Pure; `operator/xcom.ts`
 * reads the file and ends the sidecar.
 * @see airflow.providers.cncf.kubernetes.utils.xcom_sidecar
 */
import { type JsonRecord, recordsIn } from '../json.ts';
import { isUnset } from './merge.ts';

/** Names and commands that the manifest and the exec share. */
export const XCOM = {
  /** Name of the sidecar; Airflow's, because tools look for it. */
  container: 'airflow-xcom-sidecar',
  volume: 'xcom',
  /** Mount path of the volume in both containers. */
  mountPath: '/airflow/xcom',
  /** The file that the base container writes its result to, as JSON. */
  resultFile: '/airflow/xcom/return.json',
  /** Output of the sidecar for a missing or empty file (Airflow's `EMPTY_XCOM_RESULT`). */
  emptyResult: '__airflow_xcom_result_empty__',
  /** Default image. */
  image: 'alpine:3.24.2',
  /**
   * Waits until SIGINT ends it with exit code 0. Also handles SIGTERM, which Airflow's does not: as process 1 it would otherwise delay the
   * deletion of a pod by the whole grace period.
   */
  command: ['sh', '-c', 'trap "exit 0" INT TERM; while true; do sleep 1; done;'],
  /** Default resources. */
  resources: { requests: { cpu: '1m', memory: '10Mi' } },
} as const;

/** Settings of the sidecar, from a connection or a request. */
export interface XcomSidecarSettings {
  /** The connection's `xcom_sidecar_container_image`. */
  readonly image?: string | undefined;
  /** The connection's `xcom_sidecar_container_resources`; replaces the default. */
  readonly resources?: JsonRecord | undefined;
  /** The request's, else the connection's. An empty object means "no settings". */
  readonly securityContext?: JsonRecord | undefined;
}

const imageOf = ({ image }: XcomSidecarSettings): string => (image === undefined || image === '' ? XCOM.image : image);

const listIn = (value: JsonRecord, key: string): readonly unknown[] => {
  const list: unknown = value[key];
  return Array.isArray(list) ? list : [];
};

/** The volume mount in both containers. */
const XCOM_MOUNT = { name: XCOM.volume, mountPath: XCOM.mountPath } as const;

/** The volume, for pods without one of that name. */
const XCOM_VOLUME = { name: XCOM.volume, emptyDir: {} } as const;

/** Whether an entry of `volumes` is the sidecar's. */
export const isXcomVolume = (entry: unknown): boolean => JSON.stringify(entry) === JSON.stringify(XCOM_VOLUME);

/** Whether an entry of `volumeMounts` is the sidecar's. */
export const isXcomMount = (entry: unknown): boolean => JSON.stringify(entry) === JSON.stringify(XCOM_MOUNT);

/** An empty object of the connection is none, as in Airflow. */
const resourcesOf = ({ resources }: XcomSidecarSettings): JsonRecord =>
  resources === undefined || isUnset(resources) ? XCOM.resources : resources;

/** A copy of the pod spec with the sidecar: the volume and the base container's mount come first, the sidecar last. */
export function addXcomSidecar(
  spec: JsonRecord,
  { image, resources, securityContext }: XcomSidecarSettings = {},
): JsonRecord {
  const sidecar: JsonRecord = {
    name: XCOM.container,
    image: imageOf({ image }),
    command: XCOM.command,
    resources: resourcesOf({ resources }),
    volumeMounts: [XCOM_MOUNT],
    ...(securityContext === undefined ? {} : { securityContext }),
  };
  // A spec exported from one of reentry's pods has the sidecar and its mount already; Kubernetes refuses duplicate names.
  const others = recordsIn(spec, 'containers').filter(({ name }) => name !== XCOM.container);
  const containers = others.map((container, index) => {
    const mounts = listIn(container, 'volumeMounts');
    return index > 0 || mounts.some(isXcomMount) ? container : { ...container, volumeMounts: [XCOM_MOUNT, ...mounts] };
  });
  return {
    ...spec,
    // A user's volume of this name is mounted by both containers, because Kubernetes refuses duplicate names.
    volumes: recordsIn(spec, 'volumes').some(({ name }) => name === XCOM.volume)
      ? listIn(spec, 'volumes')
      : [XCOM_VOLUME, ...listIn(spec, 'volumes')],
    containers: [...containers, sidecar],
  };
}

/** Fields of the sidecar. The request may set its security context. */
const SIDECAR_FIELDS: ReadonlySet<string> = new Set([
  'name',
  'image',
  'command',
  'resources',
  'volumeMounts',
  'securityContext',
]);

/**
 * Whether a container is the sidecar in its default or configured form, and so runs nothing of the user's, even if the user wrote it into
 * the manifest. Any other field could change that: probes and hooks run commands, and a mount can replace its shell.
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
  resourcesOf(settings),
  [XCOM_MOUNT],
];
