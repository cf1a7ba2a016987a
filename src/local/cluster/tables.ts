import { at, isJsonObject, listAt, textAt, type JsonObject, type KubeObject } from './objects.ts';

interface Column {
  readonly name: string;
  readonly type: 'string' | 'integer';
  /** 0 is always shown, 1 with `-o wide`. */
  readonly priority: 0 | 1;
  readonly cell: (object: KubeObject, nowMs: number) => string | number;
}

function column(name: string, cell: Column['cell'], priority: 0 | 1 = 0, type: Column['type'] = 'string'): Column {
  return { name, cell, priority, type };
}

const NAME = column('Name', (object) => object.metadata.name);
const AGE = column('Age', (object, nowMs) => ageOf(object.metadata.creationTimestamp, nowMs));

const COLUMNS: Readonly<Record<string, readonly Column[]>> = {
  pods: [
    NAME,
    column('Ready', (pod) => {
      const statuses = listAt(pod, 'status', 'containerStatuses');
      return `${String(statuses.filter((status) => at(status, 'ready') === true).length)}/${String(listAt(pod, 'spec', 'containers').length)}`;
    }),
    column('Status', (pod) => podReason(pod)),
    column('Restarts', (pod) => restarts(pod), 0, 'integer'),
    AGE,
    column('IP', (pod) => textAt(pod, 'status', 'podIP') || '<none>', 1),
    column('Node', (pod) => textAt(pod, 'spec', 'nodeName') || '<none>', 1),
    column('Nominated Node', () => '<none>', 1),
    column('Readiness Gates', () => '<none>', 1),
  ],
  namespaces: [NAME, column('Status', (namespace) => textAt(namespace, 'status', 'phase')), AGE],
  nodes: [
    NAME,
    column('Status', () => 'Ready'),
    column('Roles', () => '<none>'),
    AGE,
    column('Version', (node) => textAt(node, 'status', 'nodeInfo', 'kubeletVersion')),
  ],
  events: [
    column('Last Seen', (event, nowMs) => ageOf(textAt(event, 'lastTimestamp'), nowMs)),
    column('Type', (event) => textAt(event, 'type')),
    column('Reason', (event) => textAt(event, 'reason')),
    column(
      'Object',
      (event) => `${textAt(event, 'involvedObject', 'kind').toLowerCase()}/${textAt(event, 'involvedObject', 'name')}`,
    ),
    column('Message', (event) => textAt(event, 'message')),
  ],
  secrets: [
    NAME,
    column('Type', (secret) => textAt(secret, 'type')),
    column('Data', (secret) => sizeOf(secret['data']), 0, 'integer'),
    AGE,
  ],
  configmaps: [NAME, column('Data', (map) => sizeOf(map['data']), 0, 'integer'), AGE],
};

/** `objects` as a `Table`, as kubectl prints them. Later tables of a watch can omit the columns. */
export function table(
  resource: string,
  objects: readonly KubeObject[],
  metadata: JsonObject,
  options: { readonly nowMs: number; readonly includeObject: string; readonly columns?: boolean },
): JsonObject {
  const columns = COLUMNS[resource] ?? [NAME, AGE];
  return {
    kind: 'Table',
    apiVersion: 'meta.k8s.io/v1',
    metadata,
    columnDefinitions:
      options.columns === false
        ? null
        : columns.map(({ name, type, priority }) => ({
            name,
            type,
            format: name === 'Name' ? 'name' : '',
            description: '',
            priority,
          })),
    rows: objects.map((object) => ({
      cells: columns.map(({ cell }) => cell(object, options.nowMs)),
      object: rowObject(object, options.includeObject),
    })),
  };
}

function rowObject(object: KubeObject, include: string): JsonObject | null {
  if (include === 'None') return null;
  if (include === 'Object') return object;
  return { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: object.metadata };
}

function sizeOf(data: unknown): number {
  return isJsonObject(data) ? Object.keys(data).length : 0;
}

function restarts(pod: KubeObject): number {
  return listAt(pod, 'status', 'containerStatuses').reduce<number>(
    (sum, status) => sum + Number(at(status, 'restartCount') ?? 0),
    0,
  );
}

/** What `kubectl get pods` shows as status. @see printPod in Kubernetes' pkg/printers/internalversion */
function podReason(pod: KubeObject): string {
  let reason = textAt(pod, 'status', 'reason') || textAt(pod, 'status', 'phase');
  const inits = listAt(pod, 'status', 'initContainerStatuses');
  const waitingFor = inits.findIndex(
    (status) => at(status, 'state', 'terminated', 'exitCode') !== 0 && at(status, 'started') !== true,
  );
  if (waitingFor >= 0) {
    const state = at(inits[waitingFor], 'state');
    const ended = at(state, 'terminated');
    const waiting = textAt(state, 'waiting', 'reason');
    if (ended !== undefined) reason = `Init:${textAt(ended, 'reason') || `ExitCode:${textAt(ended, 'exitCode')}`}`;
    else if (waiting !== '' && waiting !== 'PodInitializing') reason = `Init:${waiting}`;
    else reason = `Init:${String(waitingFor)}/${String(inits.length)}`;
  } else {
    for (const status of listAt(pod, 'status', 'containerStatuses').toReversed()) {
      const waiting = textAt(status, 'state', 'waiting', 'reason');
      const ended = at(status, 'state', 'terminated');
      if (waiting !== '') reason = waiting;
      else if (ended !== undefined) reason = textAt(ended, 'reason') || `ExitCode:${textAt(ended, 'exitCode')}`;
    }
    const running = listAt(pod, 'status', 'containerStatuses').some(
      (status) => at(status, 'state', 'running') !== undefined,
    );
    if (reason === 'Completed' && running) reason = 'Running';
  }
  return pod.metadata.deletionTimestamp === undefined ? reason : 'Terminating';
}

function ageOf(timestamp: string, nowMs: number): string {
  const seconds = Math.max(0, Math.floor((nowMs - Date.parse(timestamp)) / 1000));
  if (Number.isNaN(seconds)) return '<unknown>';
  if (seconds < 120) return `${String(seconds)}s`;
  if (seconds < 7200) return `${String(Math.floor(seconds / 60))}m`;
  return seconds < 172_800 ? `${String(Math.floor(seconds / 3600))}h` : `${String(Math.floor(seconds / 86_400))}d`;
}
