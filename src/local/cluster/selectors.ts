import { badRequest } from './failure.ts';
import { textAt, type KubeObject, type TextMap } from './objects.ts';

/** Whether an object matches. */
export type Selector = (object: KubeObject) => boolean;

type Requirement = (labels: TextMap) => boolean;

const LABEL_KEY = '(?:[a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?';
const SET = new RegExp(`^(?<key>${LABEL_KEY})\\s+(?<operator>in|notin)\\s*\\((?<values>[^()]*)\\)$`, 'u');
const EQUALS = new RegExp(`^(?<key>${LABEL_KEY})\\s*(?<operator>==|=|!=)\\s*(?<value>[A-Za-z0-9_.-]*)$`, 'u');
const EXISTS = new RegExp(`^(?<not>!?)\\s*(?<key>${LABEL_KEY})$`, 'u');

/**
 * Parses a label selector: `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`, `!a`, joined by commas.
 * @throws ApiFailure 400 when it is invalid
 * @see https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#api
 */
export function labelSelector(text: string): Selector {
  const parts = text
    // A comma inside parentheses belongs to the set.
    .split(/,(?![^(]*\))/u)
    .map((part) => part.trim())
    .filter((part) => part !== '');
  const requirements = parts.map((part) => requirement(part));
  return (object) => {
    const labels = object.metadata.labels ?? {};
    return requirements.every((holds) => holds(labels));
  };
}

function requirement(part: string): Requirement {
  const set = SET.exec(part)?.groups;
  if (set !== undefined) {
    const key = set['key'] ?? '';
    const values = new Set((set['values'] ?? '').split(',').map((value) => value.trim()));
    // `notin` also matches objects without the label.
    return set['operator'] === 'in'
      ? (labels) => labels[key] !== undefined && values.has(labels[key])
      : (labels) => labels[key] === undefined || !values.has(labels[key]);
  }
  const equals = EQUALS.exec(part)?.groups;
  if (equals !== undefined) {
    const key = equals['key'] ?? '';
    const value = equals['value'] ?? '';
    return equals['operator'] === '!=' ? (labels) => labels[key] !== value : (labels) => labels[key] === value;
  }
  const exists = EXISTS.exec(part)?.groups;
  if (exists !== undefined) {
    const key = exists['key'] ?? '';
    return exists['not'] === '!' ? (labels) => labels[key] === undefined : (labels) => labels[key] !== undefined;
  }
  throw badRequest(`unable to parse requirement: ${JSON.stringify(part)}`);
}

const EVERYWHERE = ['metadata.name', 'metadata.namespace'];
const BY_RESOURCE: Readonly<Record<string, readonly string[]>> = {
  pods: [
    'spec.nodeName',
    'spec.restartPolicy',
    'spec.schedulerName',
    'spec.serviceAccountName',
    'status.phase',
    'status.podIP',
    'status.nominatedNodeName',
  ],
  events: [
    'involvedObject.kind',
    'involvedObject.namespace',
    'involvedObject.name',
    'involvedObject.uid',
    'involvedObject.apiVersion',
    'involvedObject.resourceVersion',
    'involvedObject.fieldPath',
    'reason',
    'reportingComponent',
    'source',
    'type',
  ],
  namespaces: ['status.phase'],
  secrets: ['type'],
};

/**
 * Parses a field selector: `=`, `==` and `!=`, joined by commas, on the fields that the resource supports.
 * @throws ApiFailure 400 when it is invalid or uses another field
 */
export function fieldSelector(resource: string, text: string): Selector {
  const allowed = new Set([...EVERYWHERE, ...(BY_RESOURCE[resource] ?? [])]);
  const requirements = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map((part) => {
      const match = /^(?<field>[^=!]+)(?<operator>==|=|!=)(?<value>.*)$/u.exec(part)?.groups;
      if (match === undefined) throw badRequest(`invalid selector: '${text}'; can't understand '${part}'`);
      const field = match['field'] ?? '';
      const value = match['value'] ?? '';
      if (!allowed.has(field)) throw badRequest(`field label not supported: ${field}`);
      const path = field.split('.');
      return (object: KubeObject) => (textAt(object, ...path) === value) !== (match['operator'] === '!=');
    });
  return (object) => requirements.every((holds) => holds(object));
}
