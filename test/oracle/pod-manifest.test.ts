import { XCOM } from '../../src/core/pod/xcom-sidecar.ts';
import { parseYamlFile } from '../../src/config.ts';
import { isRecord, type JsonRecord, numberIn, recordIn, recordsIn, textIn } from '../../src/core/json.ts';
import { taskLabels } from '../../src/core/pod/labels.ts';
import { podManifest } from '../../src/core/pod/manifest.ts';
import { attemptSuffix, defaultNamespace, isPodName, normalizeName, slugify } from '../../src/core/pod/names.ts';
import type { XcomSidecarSettings } from '../../src/core/pod/xcom-sidecar.ts';
import { ReentryError } from '../../src/errors.ts';
import { podParamsSchema } from '../../src/operator/pod-params.ts';
import { PodManifests } from '../../src/operator/pod-manifests.ts';
import { runRequestSchema } from '../../src/wire/run-request.ts';
import type { RunContext } from '../../src/wire/run-request.ts';
import {
  type Answer,
  camelKeys,
  compareWithOracle,
  normalisedPod,
  type OracleCase,
  type OracleRule,
} from './harness.ts';

const run = { tenant: 't', runId: 'r' };
const SUFFIX = '-x7k2m9qz';

const paramsOf = ({ input }: OracleCase): JsonRecord => recordIn(input, 'params');
const attemptOf = ({ input }: OracleCase): number => numberIn(recordIn(input, 'context'), 'try_number') ?? 1;
const isUnknownTask = ({ input }: OracleCase): boolean => !isRecord(input['context']) || input['dry_run'] === true;

function contextOf({ input }: OracleCase): RunContext {
  const given = recordIn(input, 'context');
  const mapIndex = numberIn(given, 'map_index');
  const [dagId, taskId, runId] = ['dag_id', 'task_id', 'run_id'].map((key) =>
    typeof given[key] === 'string' ? given[key] : undefined,
  );
  return {
    ...(dagId === undefined ? {} : { dagId }),
    ...(taskId === undefined ? {} : { taskId }),
    ...(runId === undefined ? {} : { runId }),
    ...(mapIndex === undefined ? {} : { mapIndex }),
  };
}

/** A connection's extra by name: under its own key, even when empty, else under the old prefixed key. */
function extra({ input }: OracleCase, key: string): string | undefined {
  const extras = recordIn(recordIn(input, 'connection'), 'extra');
  return textIn(extras, key in extras ? key : `extra__kubernetes__${key}`);
}

/** Our settings are objects, Airflow's are JSON text. */
function sidecarOf(theCase: OracleCase): XcomSidecarSettings {
  const json = (key: string): JsonRecord | undefined => {
    const text = extra(theCase, key);
    const value: unknown = text === undefined ? undefined : JSON.parse(text);
    return isRecord(value) ? value : undefined;
  };
  return {
    image: extra(theCase, 'xcom_sidecar_container_image'),
    resources: json('xcom_sidecar_container_resources'),
    securityContext: json('xcom_sidecar_container_security_context'),
  };
}

function built(theCase: OracleCase): JsonRecord {
  const { input } = theCase;
  const { task_id, secrets, ...given } = paramsOf(theCase);
  const params = podParamsSchema.parse({
    ...camelKeys(given),
    ...(Array.isArray(secrets)
      ? { secrets: secrets.map((one: unknown) => (isRecord(one) ? camelKeys(one) : one)) }
      : {}),
  });
  const podTemplates = Object.fromEntries(
    Object.entries(recordIn(input, 'files')).map(([name, text]): [string, JsonRecord] => {
      const template: unknown = parseYamlFile(name, String(text));
      return [name, isRecord(template) ? template : {}];
    }),
  );
  const requests = new PodManifests({ podSecurity: 'privileged', podTemplates });
  // We refuse a pod without an image; the rest of its manifest is compared all the same.
  const problems = requests.check(runRequestSchema.parse({}), params).filter(({ path }) => path !== 'params.image');
  if (problems.length > 0)
    throw new ReentryError('INVALID_REQUEST', JSON.stringify(problems), { transient: false, problems });
  const settings = {
    ...{ installation: 'i', run, attempt: attemptOf(theCase), queue: 'q', context: contextOf(theCase) },
    defaultNamespace: defaultNamespace(
      extra(theCase, 'namespace'),
      textIn(recordIn(input, 'connection'), 'service_account_namespace'),
    ),
    podSecurity: 'privileged' as const,
    template: podTemplates[params.podTemplateFile ?? ''],
    xcomSidecar: sidecarOf(theCase),
  };
  const manifest = podManifest(params, settings);
  // The recordings have separate tasks for labels and for the name.
  const named = podManifest(params, { ...settings, context: { taskId: String(task_id) } });
  const name = textIn(recordIn(named, 'metadata'), 'name') ?? '';
  return { ...manifest, metadata: { ...recordIn(manifest, 'metadata'), name } };
}

/**
 * Maps in the recordings are sorted by key, so the order of Airflow's variables, the one in which the task gave them, is lost. Ours must be in the order of
 * the input that we were given: where it is not, they stay as they are, and differ.
 */
function withVariablesSorted(pod: JsonRecord, theCase: OracleCase): JsonRecord {
  if (!isRecord(paramsOf(theCase)['env_vars'])) return pod;
  const [first = {}, ...others] = recordsIn(recordIn(pod, 'spec'), 'containers');
  if (!Array.isArray(first['env'])) return pod;
  const env = recordsIn(first, 'env').toSorted((a, b) => String(a['name']).localeCompare(String(b['name'])));
  return withSpec(pod, { containers: [{ ...first, env }, ...others] });
}

function isInGivenOrder(pod: JsonRecord, theCase: OracleCase): boolean {
  const given = Object.keys(recordIn(paramsOf(theCase), 'env_vars'));
  const [base] = recordsIn(recordIn(pod, 'spec'), 'containers');
  const names = recordsIn(base, 'env').map(({ name }) => name);
  const last = given.map((name) => names.lastIndexOf(name));
  return last.every((place, index) => index === 0 || place > (last[index - 1] ?? -1));
}

/** A pod with its secret volumes renamed to `secretvol#n`, in order: ours are named by a hash of the content, so that an attempt always builds the same manifest. */
function withSecretsNamed(pod: JsonRecord): JsonRecord {
  const names = recordsIn(recordIn(pod, 'spec'), 'volumes')
    .map((volume) => String(volume['name']))
    .filter((name) => name.startsWith('secretvol'));
  const text = names.reduce(
    (all, name, index) => all.replaceAll(name, `secretvol#${String(index)}`),
    JSON.stringify(pod),
  );
  const renamed: unknown = JSON.parse(text);
  return isRecord(renamed) ? renamed : pod;
}

const withMetadata = (pod: JsonRecord, fields: JsonRecord): JsonRecord => ({
  ...pod,
  metadata: { ...recordIn(pod, 'metadata'), ...fields },
});
const withSpec = (pod: JsonRecord, fields: JsonRecord): JsonRecord => ({
  ...pod,
  spec: { ...recordIn(pod, 'spec'), ...fields },
});
const nameOf = (pod: unknown): string => textIn(recordIn(pod, 'metadata'), 'name') ?? '';

const podOf = ({ theirs }: OracleCase): JsonRecord => ('output' in theirs ? recordIn(theirs.output, 'pod') : {});
const change =
  (by: (pod: JsonRecord, theCase: OracleCase) => JsonRecord) =>
  (theirs: Answer, theCase: OracleCase): Answer =>
    'output' in theirs && isRecord(theirs.output) ? { output: by(theirs.output, theCase) } : theirs;
const refuse = (): Answer => ({ error: 'refused' });

/** The name before the suffix. */
const stemOf = (name: string): string => (name.endsWith(SUFFIX) ? name.slice(0, -SUFFIX.length) : name);
const isGivenName = (theCase: OracleCase): boolean => Boolean(paramsOf(theCase)['name']);

const RULES: readonly OracleRule[] = [
  {
    reason: 'a value without any legal character becomes its hash alone: Kubernetes refuses a leading dash',
    when: (theCase) =>
      Object.values(recordIn(recordIn(podOf(theCase), 'metadata'), 'labels')).some((value) =>
        String(value).startsWith('-'),
      ),
    instead: change((pod) => {
      const labels = Object.entries(recordIn(recordIn(pod, 'metadata'), 'labels'));
      return withMetadata(pod, {
        labels: Object.fromEntries(labels.map(([key, value]) => [key, String(value).replace(/^-/, '')])),
      });
    }),
  },
  {
    reason: 'Airflow restricts task ids; here every string is accepted and made safe',
    when: (theCase) => 'error' in theCase.theirs && !/^[\w.-]+$/.test(String(paramsOf(theCase)['task_id'])),
  },
  {
    reason: 'labels and annotations that Kubernetes would refuse are refused at once',
    when: (theCase) => {
      const { labels, annotations } = paramsOf(theCase);
      const key = /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[a-z0-9]([\w.-]{0,61}[a-z0-9])?$/i;
      const value = /^([a-z0-9]([\w.-]{0,61}[a-z0-9])?)?$/i;
      const pairs = Object.entries(isRecord(labels) ? labels : {});
      return (
        pairs.some(
          ([name, text]) => !key.test(name) || (text !== null && (typeof text !== 'string' || !value.test(text))),
        ) ||
        Object.entries(isRecord(annotations) ? annotations : {}).some(
          ([name, text]) => !key.test(name) || typeof text !== 'string',
        )
      );
    },
    instead: refuse,
  },
  {
    reason: 'container names that Kubernetes would refuse are refused at once',
    when: (theCase) => {
      const name = paramsOf(theCase)['base_container_name'];
      return typeof name === 'string' && name !== '' && !/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name);
    },
    instead: refuse,
  },
  {
    reason: 'a request carries no credentials: it names a connection',
    when: (theCase) => ['in_cluster', 'config_file', 'cluster_context'].some((key) => paramsOf(theCase)[key] != null),
    instead: refuse,
  },
  {
    reason: 'a given name is always checked: Airflow checks it on execution, and accepts letters of other scripts',
    when: (theCase) => {
      const { name } = paramsOf(theCase);
      if (typeof name !== 'string') return false;
      return !/^[\w.-]{1,220}$/.test(name) || name.includes('..') || !/[a-z0-9]/i.test(name);
    },
    instead: refuse,
  },
  {
    reason: 'the run is always known: its labels are set without a context and in a dry run as well',
    when: isUnknownTask,
    instead: change((pod, theCase) => {
      const labels = taskLabels(
        { ...contextOf(theCase), runId: contextOf(theCase).runId ?? run.runId },
        attemptOf(theCase),
      );
      return withMetadata(pod, { labels: { ...recordIn(recordIn(pod, 'metadata'), 'labels'), ...labels } });
    }),
  },
  {
    reason:
      'a given name is made valid while the manifest is built: Airflow does so on execution only, and leaves dashes at the ends',
    when: isGivenName,
    instead: change((pod, theCase) => {
      const name = nameOf(pod);
      const stem = normalizeName(String(paramsOf(theCase)['name'])).slice(0, name.endsWith(SUFFIX) ? 52 : undefined);
      return withMetadata(pod, { name: `${stem.replace(/-+$/, '')}${name.endsWith(SUFFIX) ? SUFFIX : ''}` });
    }),
  },
  {
    reason: 'the pod gets a valid name, whatever the template or task is called',
    when: (theCase) => !isGivenName(theCase) && !isPodName(nameOf(podOf(theCase))),
    instead: change((pod) => {
      const name = nameOf(pod);
      const stem = slugify(stemOf(name));
      return withMetadata(pod, { name: `${stem === '' ? 'pod' : stem}${name.endsWith(SUFFIX) ? SUFFIX : ''}` });
    }),
  },
  {
    reason: 'a deadline of 0 means none: the API server refuses 0',
    when: (theCase) => paramsOf(theCase)['active_deadline_seconds'] === 0,
    instead: change((pod) => {
      const { activeDeadlineSeconds, ...spec } = recordIn(pod, 'spec');
      return activeDeadlineSeconds === 0 ? { ...pod, spec } : pod;
    }),
  },
  {
    reason: 'names in a comma-separated list are trimmed, blank ones dropped: Airflow keeps both, which no secret has',
    when: (theCase) => /,\s|\s,|,,|^[\s,]|[\s,]$/.test(String(paramsOf(theCase)['image_pull_secrets'])),
    instead: change((pod) =>
      withSpec(pod, {
        imagePullSecrets: recordsIn(recordIn(pod, 'spec'), 'imagePullSecrets')
          .map(({ name }) => ({ name: String(name).trim() }))
          .filter(({ name }) => name !== ''),
      }),
    ),
  },
  {
    reason: 'secret references that Kubernetes would refuse are refused at once',
    when: (theCase) => {
      const list = paramsOf(theCase)['image_pull_secrets'];
      return Array.isArray(list) && list.some((one) => textIn(one, 'name') === undefined);
    },
    instead: refuse,
  },
  {
    reason: 'a volume with the name of the sidecar’s is shared with it: the API server refuses two volumes of one name',
    when: (theCase) =>
      recordsIn(recordIn(podOf(theCase), 'spec'), 'volumes').filter(({ name }) => name === 'xcom').length > 1,
    instead: change((pod) => withSpec(pod, { volumes: recordsIn(recordIn(pod, 'spec'), 'volumes').slice(1) })),
  },
  {
    reason: 'the sidecar ends on SIGTERM as well: as process 1 it would delay the deletion by the whole grace period',
    when: (theCase) =>
      recordsIn(recordIn(podOf(theCase), 'spec'), 'containers').some(({ name }) => name === XCOM.container),
    instead: change((pod) =>
      withSpec(pod, {
        containers: recordsIn(recordIn(pod, 'spec'), 'containers').map((container) =>
          container['name'] === XCOM.container ? { ...container, command: [...XCOM.command] } : container,
        ),
      }),
    ),
  },
];

compareWithOracle('pod-manifest', {
  answer: built,
  // A suffix of eleven characters instead of nine leaves 52 for the name; its ten characters depend on the attempt.
  theirs: (output, theCase) => {
    const pod = withVariablesSorted(withSecretsNamed(normalisedPod(recordIn(output, 'pod'))), theCase);
    const name = nameOf(pod);
    if (!name.endsWith(SUFFIX)) return pod;
    return withMetadata(pod, {
      name: `${stemOf(name)
        .slice(0, 52)
        .replace(/[-.]+$/, '')}${SUFFIX}`,
    });
  },
  ours: (output, theCase) => {
    const named = withSecretsNamed(normalisedPod(output));
    const pod = isInGivenOrder(named, theCase) ? withVariablesSorted(named, theCase) : named;
    return withMetadata(pod, { name: nameOf(pod).replace(`-${attemptSuffix(run, attemptOf(theCase))}`, SUFFIX) });
  },
  rules: RULES,
});
