import { quantityOf } from '../../core/quantity.ts';
import { isAbsolute, normalize } from 'node:path';
import type { Cause } from './failure.ts';
import { at, type JsonObject, type TextMap } from './objects.ts';
import { isSidecar, type Container, type PodSpec } from './pod.ts';

const DNS_LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/u;
const DNS_SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/u;
const QUALIFIED = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/u;
const LABEL_VALUE = /^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$/u;

const SUBDOMAIN_RULE =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_RULE =
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const VALUE_RULE =
  "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const KEY_RULE =
  "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/** Collects causes with the real server's messages. */
class Causes {
  readonly list: Cause[] = [];

  required(field: string, detail = ''): void {
    this.list.push({
      reason: 'FieldValueRequired',
      message: detail === '' ? 'Required value' : `Required value: ${detail}`,
      field,
    });
  }

  invalid(field: string, value: unknown, rule: string): void {
    this.list.push({ reason: 'FieldValueInvalid', message: `Invalid value: ${JSON.stringify(value)}: ${rule}`, field });
  }

  duplicate(field: string, value: string): void {
    this.list.push({ reason: 'FieldValueDuplicate', message: `Duplicate value: ${JSON.stringify(value)}`, field });
  }

  unsupported(field: string, value: string, supported: readonly string[]): void {
    const list = supported.map((entry) => JSON.stringify(entry)).join(', ');
    this.list.push({
      reason: 'FieldValueNotSupported',
      message: `Unsupported value: ${JSON.stringify(value)}: supported values: ${list}`,
      field,
    });
  }

  missing(field: string, value: string): void {
    this.list.push({ reason: 'FieldValueNotFound', message: `Not found: ${JSON.stringify(value)}`, field });
  }
}

/** What is wrong with the name, labels and annotations of an object. `label`: the name must be a DNS label. */
export function metadataCauses(
  metadata: {
    readonly name?: string | undefined;
    readonly labels?: TextMap | undefined;
    readonly annotations?: TextMap | undefined;
  },
  options: { readonly label?: boolean } = {},
): readonly Cause[] {
  const causes = new Causes();
  const { name } = metadata;
  if (name === undefined || name === '') causes.required('metadata.name', 'name or generateName is required');
  else if (name.length > (options.label === true ? 63 : 253))
    causes.invalid('metadata.name', name, 'must be no more than 253 bytes');
  else if (!(options.label === true ? DNS_LABEL : DNS_SUBDOMAIN).test(name)) {
    causes.invalid('metadata.name', name, options.label === true ? LABEL_RULE : SUBDOMAIN_RULE);
  }
  for (const [key, value] of Object.entries(metadata.labels ?? {})) {
    keyCauses(causes, 'metadata.labels', key);
    if (value.length > 63) causes.invalid('metadata.labels', value, 'must be no more than 63 bytes');
    else if (!LABEL_VALUE.test(value)) causes.invalid('metadata.labels', value, VALUE_RULE);
  }
  for (const key of Object.keys(metadata.annotations ?? {}))
    keyCauses(causes, 'metadata.annotations', key.toLowerCase());
  const bytes = Object.entries(metadata.annotations ?? {}).reduce(
    (sum, [key, value]) => sum + key.length + Buffer.byteLength(value),
    0,
  );
  if (bytes > 262_144) {
    causes.list.push({
      reason: 'FieldValueTooLong',
      message: 'Too long: may not be more than 262144 bytes',
      field: 'metadata.annotations',
    });
  }
  return causes.list;
}

function keyCauses(causes: Causes, field: string, key: string): void {
  const [prefix, name] = key.includes('/')
    ? [key.slice(0, key.indexOf('/')), key.slice(key.indexOf('/') + 1)]
    : [undefined, key];
  if (prefix !== undefined && (prefix.length > 253 || !DNS_SUBDOMAIN.test(prefix)))
    causes.invalid(field, key, `prefix part ${SUBDOMAIN_RULE}`);
  if (name.length > 63) causes.invalid(field, key, 'name part must be no more than 63 bytes');
  else if (!QUALIFIED.test(name)) causes.invalid(field, key, KEY_RULE);
}

/** What is wrong with a pod's spec, with the real server's messages; covers common mistakes. */
export function podCauses(spec: PodSpec, raw: JsonObject): readonly Cause[] {
  const causes = new Causes();
  const volumes = new Set<string>();
  for (const [index, volume] of spec.volumes.entries()) {
    const field = `spec.volumes[${String(index)}].name`;
    if (volume.name === '') causes.required(field);
    else if (!DNS_LABEL.test(volume.name)) causes.invalid(field, volume.name, LABEL_RULE);
    else if (volumes.has(volume.name)) causes.duplicate(field, volume.name);
    volumes.add(volume.name);
  }
  if (spec.containers.length === 0) causes.required('spec.containers');
  const names = new Set<string>();
  for (const [index, container] of spec.initContainers.entries()) {
    containerCauses(causes, `spec.initContainers[${String(index)}]`, container, names, volumes);
    if (container.restartPolicy !== undefined && !isSidecar(container)) {
      causes.unsupported(`spec.initContainers[${String(index)}].restartPolicy`, container.restartPolicy, ['Always']);
    }
  }
  for (const [index, container] of spec.containers.entries()) {
    containerCauses(causes, `spec.containers[${String(index)}]`, container, names, volumes);
  }
  const policy = spec.restartPolicy;
  if (policy !== undefined && !['Always', 'OnFailure', 'Never'].includes(policy)) {
    causes.unsupported('spec.restartPolicy', policy, ['Always', 'OnFailure', 'Never']);
  }
  const deadline = spec.activeDeadlineSeconds;
  if (deadline !== undefined && (deadline < 1 || deadline > 2_147_483_647)) {
    causes.invalid('spec.activeDeadlineSeconds', deadline, 'must be between 1 and 2147483647, inclusive');
  }
  const grace = spec.terminationGracePeriodSeconds;
  if (grace !== undefined && grace < 0)
    causes.invalid('spec.terminationGracePeriodSeconds', grace, 'must be greater than or equal to 0');
  for (const [key, value] of Object.entries(spec.nodeSelector)) {
    keyCauses(causes, 'spec.nodeSelector', key);
    if (!LABEL_VALUE.test(value)) causes.invalid('spec.nodeSelector', value, VALUE_RULE);
  }
  const account = at(raw, 'serviceAccountName');
  if (typeof account === 'string' && account !== '' && !DNS_SUBDOMAIN.test(account)) {
    causes.invalid('spec.serviceAccountName', account, SUBDOMAIN_RULE);
  }
  return causes.list;
}

function containerCauses(
  causes: Causes,
  field: string,
  container: Container,
  names: Set<string>,
  volumes: ReadonlySet<string>,
): void {
  if (container.name === '') causes.required(`${field}.name`);
  else if (container.name.length > 63) causes.invalid(`${field}.name`, container.name, 'must be no more than 63 bytes');
  else if (!DNS_LABEL.test(container.name)) causes.invalid(`${field}.name`, container.name, LABEL_RULE);
  else if (names.has(container.name)) causes.duplicate(`${field}.name`, container.name);
  names.add(container.name);
  if (container.image === '') causes.required(`${field}.image`);
  else if (container.image.trim() !== container.image) {
    causes.invalid(`${field}.image`, container.image, 'must not have leading or trailing whitespace');
  }
  for (const [index, variable] of container.env.entries()) {
    const at = `${field}.env[${String(index)}]`;
    if (variable.name === '') causes.required(`${at}.name`);
    // Since 1.32 a name can contain any printable ASCII character but `=`.
    else if (!/^[ -<>-~]+$/u.test(variable.name)) {
      causes.invalid(
        `${at}.name`,
        variable.name,
        "a valid environment variable name must consist only of printable ASCII characters other than '='",
      );
    }
    if (variable.valueFrom !== undefined && variable.value !== undefined && variable.value !== '') {
      causes.invalid(`${at}.valueFrom`, '', 'may not be specified when `value` is not empty');
    }
  }
  const points = new Set<string>();
  for (const [index, mount] of container.volumeMounts.entries()) {
    const at = `${field}.volumeMounts[${String(index)}]`;
    if (mount.name === '') causes.required(`${at}.name`);
    else if (!volumes.has(mount.name)) causes.missing(`${at}.name`, mount.name);
    if (mount.mountPath === '') causes.required(`${at}.mountPath`);
    else if (points.has(mount.mountPath)) causes.invalid(`${at}.mountPath`, mount.mountPath, 'must be unique');
    points.add(mount.mountPath);
    const { subPath } = mount;
    if (subPath !== undefined && (isAbsolute(subPath) || normalize(subPath).startsWith('..'))) {
      causes.invalid(`${at}.subPath`, subPath, "must be a relative path without '..'");
    }
  }
  for (const part of ['limits', 'requests'] as const) {
    for (const [name, quantity] of Object.entries(container.resources?.[part] ?? {})) {
      if (quantityOf(quantity) === undefined) {
        causes.invalid(
          `${field}.resources.${part}[${name}]`,
          quantity,
          "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        );
      }
    }
  }
  const policy = container.imagePullPolicy;
  if (policy !== undefined && !['Always', 'IfNotPresent', 'Never'].includes(policy)) {
    causes.unsupported(`${field}.imagePullPolicy`, policy, ['Always', 'IfNotPresent', 'Never']);
  }
}
