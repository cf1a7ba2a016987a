/** Templates in parameters: Liquid, so that no template runs code. @see spec pod-operator §1.5 `template_fields` */
import { Liquid } from 'liquidjs';
import type { Problem } from '../errors.ts';
import type { RunRequest } from '../wire/messages.ts';
import type { RunKey } from '../wire/subjects.ts';
import type { PodParams } from './params.ts';

/** The parameters whose texts are rendered, however deep they stand. */
export const TEMPLATE_FIELDS = [
  'image',
  'name',
  'hostname',
  'cmds',
  'annotations',
  'arguments',
  'envVars',
  'labels',
  'podTemplateFile',
  'podTemplateDict',
  'namespace',
  'containerResources',
  'volumes',
  'volumeMounts',
  'envFrom',
  'configmaps',
  'nodeSelector',
  'kubernetesConnId',
  'baseContainerName',
  'initContainers',
  'fullPodSpec',
] as const satisfies readonly (keyof PodParams)[];

// Limits in characters, milliseconds and allocations: a template of a request must not be able to occupy a worker. No files.
const liquid = new Liquid({
  strictVariables: true,
  strictFilters: true,
  lenientIf: true,
  ownPropertyOnly: true,
  templates: {},
  parseLimit: 1_000_000,
  renderLimit: 500,
  memoryLimit: 10_000_000,
});

/** What templates can speak of: the seed's names, and ours. */
export function templateVariables(run: RunKey, request: RunRequest, attempt: number): object {
  const { dagId = '', taskId = '', runId = run.runId, mapIndex = -1, logicalDate = '', params = {} } = request.context;
  return {
    params,
    dagId,
    taskId,
    runId,
    mapIndex,
    logicalDate,
    tryNumber: attempt,
    tenant: run.tenant,
    dag_id: dagId,
    task_id: taskId,
    run_id: runId,
    map_index: mapIndex,
    logical_date: logicalDate,
    try_number: attempt,
    ts: logicalDate,
    ds: logicalDate.slice(0, 10),
    ds_nodash: logicalDate.slice(0, 10).replaceAll('-', ''),
    ti: { dag_id: dagId, task_id: taskId, run_id: runId, map_index: mapIndex, try_number: attempt },
    dag_run: { run_id: runId, logical_date: logicalDate, conf: params },
  };
}

const isTemplate = (text: string): boolean => text.includes('{{') || text.includes('{%');

function renderText(text: string, variables: object, path: string, problems: Problem[]): string {
  if (!isTemplate(text)) return text;
  try {
    const rendered: unknown = liquid.parseAndRenderSync(text, variables);
    return String(rendered);
  } catch (error) {
    const why = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
    problems.push({ path, message: `template: ${why}` });
    return text;
  }
}

/** Every text in a JSON value rendered, keys of maps included (`envVars` may have templates as names). */
function renderValue(value: unknown, variables: object, path: string, problems: Problem[]): unknown {
  if (typeof value === 'string') return renderText(value, variables, path, problems);
  if (Array.isArray(value))
    return value.map((item: unknown, index) => renderValue(item, variables, `${path}[${String(index)}]`, problems));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]: [string, unknown]) => [
      renderText(key, variables, path, problems),
      renderValue(item, variables, `${path}.${key}`, problems),
    ]),
  );
}

/** The template fields of `params`, rendered, beside the others as they are; and what is wrong with them. Still to be parsed: rendering may break a rule of the schema. */
export function renderTemplates(
  params: PodParams,
  variables: object,
): { readonly rendered: Readonly<Record<string, unknown>>; readonly problems: readonly Problem[] } {
  const problems: Problem[] = [];
  const rendered: Record<string, unknown> = { ...params };
  for (const field of TEMPLATE_FIELDS)
    rendered[field] = renderValue(params[field], variables, `params.${field}`, problems);
  return { rendered, problems };
}
