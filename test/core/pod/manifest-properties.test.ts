/** Properties for every input: merging, names, labels, whole manifests. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isRecord, type JsonRecord, recordIn, recordsIn, textIn } from '../../../src/core/json.ts';
import {
  labelKeyProblem,
  labelValueProblem,
  makeSafeLabelValue,
  podLabels,
  taskLabels,
} from '../../../src/core/pod/labels.ts';
import { podManifest, redactedManifest } from '../../../src/core/pod/manifest.ts';
import {
  mergeObjects,
  reconcileContainers,
  reconcileMetadata,
  reconcilePods,
  reconcileSpecs,
  unionMaps,
} from '../../../src/core/pod/merge.ts';
import {
  addSuffix,
  createUniqueId,
  isPodName,
  MAX_POD_NAME,
  nameProblem,
  normalizeName,
  podName,
} from '../../../src/core/pod/names.ts';
import { podParamsSchema } from '../../../src/operator/pod-params.ts';

const RUNS = { numRuns: 100 };
/** Any text: all of Unicode, long ones, and the characters that are invalid in names and labels. */
const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 300 }),
  fc.string({ unit: 'grapheme', maxLength: 80 }),
  fc.string({
    unit: fc.constantFrom('a', 'Z', '0', '-', '_', '.', '/', ' ', '\n', '\u00e9', '\u044f', '\u5f71'),
    maxLength: 120,
  }),
);

const text = fc.string({ maxLength: 4 });
const labels = fc.dictionary(fc.constantFrom('a', 'b', 'c'), text, { maxKeys: 3 });
const metadata = fc.record({ name: text, namespace: text, labels, annotations: labels }, { requiredKeys: [] });
const named = fc.record({ name: fc.constantFrom('x', 'y', 'z') });
const container = fc.record(
  {
    name: fc.constantFrom('x', 'y', 'z'),
    image: text,
    command: fc.array(text, { maxLength: 2 }),
    env: fc.array(named, { maxLength: 2 }),
    ports: fc.array(named, { maxLength: 2 }),
    volumeMounts: fc.array(named, { maxLength: 2 }),
    resources: labels,
    tty: fc.boolean(),
  },
  { requiredKeys: ['name'] },
);
const spec = fc.record(
  {
    containers: fc.array(container, { maxLength: 3 }),
    initContainers: fc.uniqueArray(container, { maxLength: 3, selector: ({ name }) => name }),
    volumes: fc.array(named, { maxLength: 2 }),
    nodeSelector: labels,
    hostNetwork: fc.boolean(),
    activeDeadlineSeconds: fc.nat(2),
    serviceAccountName: text,
  },
  { requiredKeys: [] },
);
const pod = fc.record({ apiVersion: fc.constant('v1'), metadata, spec }, { requiredKeys: [] });

/** A pod without empty fields, so that "absent" and "empty" are equal. */
function bare(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(bare);
  if (!isRecord(value)) return value;
  const fields = Object.entries(value)
    .map(([key, item]): [string, unknown] => [key, bare(item)])
    .filter(([, item]) => item !== undefined && item !== null && item !== '' && item !== false && item !== 0)
    .filter(
      ([, item]) => !(Array.isArray(item) && item.length === 0) && !(isRecord(item) && Object.keys(item).length === 0),
    );
  return Object.fromEntries(fields);
}

const frozen = <Value>(value: Value): Value => {
  if (typeof value === 'object' && value !== null) {
    for (const item of Object.values(value)) frozen(item);
    Object.freeze(value);
  }
  return value;
};

describe('merging', () => {
  test('with nothing changes nothing, from either side', () => {
    fc.assert(
      fc.property(pod, (one) => {
        for (const nothing of [undefined, {}]) {
          expect(bare(reconcilePods(nothing, one))).toEqual(bare(one));
          expect(bare(reconcilePods(one, nothing))).toEqual(bare(one));
        }
      }),
      RUNS,
    );
  });
  test('never changes its arguments, and is deterministic', () => {
    fc.assert(
      fc.property(pod, pod, (low, high) => {
        const [base, client] = [frozen(structuredClone(low)), frozen(structuredClone(high))];
        expect(reconcilePods(base, client)).toEqual(reconcilePods(low, high));
      }),
      RUNS,
    );
  });
  test('of three does not depend on which two come first, where all have one shape', () => {
    fc.assert(
      fc.property(metadata, metadata, metadata, (a, b, c) => {
        expect(bare(reconcileMetadata(reconcileMetadata(a, b), c))).toEqual(
          bare(reconcileMetadata(a, reconcileMetadata(b, c))),
        );
      }),
      RUNS,
    );
    fc.assert(
      fc.property(fc.tuple(container, container, container), ([a, b, c]) => {
        const left = reconcileContainers(reconcileContainers([a], [b]), [c]);
        expect(bare(left)).toEqual(bare(reconcileContainers([a], reconcileContainers([b], [c]))));
      }),
      RUNS,
    );
    fc.assert(
      fc.property(labels, labels, labels, (a, b, c) => {
        expect(unionMaps(unionMaps(a, b), c) ?? {}).toEqual(unionMaps(a, unionMaps(b, c)) ?? {});
      }),
      RUNS,
    );
  });
  test('preserves what the client sets, and every list entry of both', () => {
    fc.assert(
      fc.property(spec, spec, (low, high) => {
        const merged = reconcileSpecs(low, high) ?? {};
        for (const [key, value] of Object.entries(recordIn({ high: bare(high) }, 'high')))
          if (!Array.isArray(value) && !isRecord(value)) expect(merged[key]).toEqual(value);
        expect(recordsIn(merged, 'volumes')).toEqual([...(low.volumes ?? []), ...(high.volumes ?? [])]);
        expect(recordsIn(merged, 'containers')).toHaveLength(
          Math.max((low.containers ?? []).length, (high.containers ?? []).length),
        );
        const names = new Set([...(low.initContainers ?? []), ...(high.initContainers ?? [])].map(({ name }) => name));
        expect(new Set(recordsIn(merged, 'initContainers').map(({ name }) => name))).toEqual(names);
      }),
      RUNS,
    );
  });
  test('of objects takes every value from one of the two', () => {
    fc.assert(
      fc.property(container, container, (low, high) => {
        const merged: JsonRecord = mergeObjects(low, high) ?? {};
        const sides = [new Map<string, unknown>(Object.entries(low)), new Map<string, unknown>(Object.entries(high))];
        for (const [key, value] of Object.entries(merged)) expect(sides.map((side) => side.get(key))).toContain(value);
      }),
      RUNS,
    );
  });
});

describe('names', () => {
  const run = { tenant: 't', runId: 'r' };
  test('any given name results in a valid pod name, the same each time', () => {
    fc.assert(
      fc.property(
        fc.option(anyText, { nil: undefined }),
        anyText,
        fc.boolean(),
        fc.nat(20),
        (name, taskId, randomNameSuffix, attempt) => {
          const made = podName({ name, taskId, randomNameSuffix }, run, attempt);
          expect(isPodName(made), made).toBe(true);
          expect(podName({ name, taskId, randomNameSuffix }, run, attempt)).toBe(made);
          if (randomNameSuffix) expect(made.length).toBeLessThanOrEqual(MAX_POD_NAME);
        },
      ),
      RUNS,
    );
  });
  test('two attempts have different names', () => {
    fc.assert(
      fc.property(anyText, fc.nat(1000), fc.nat(1000), (name, one, other) => {
        fc.pre(one !== other);
        const made = [one, other].map((attempt) => podName({ name, randomNameSuffix: true }, run, attempt));
        expect(new Set(made).size).toBe(2);
      }),
      RUNS,
    );
  });
  test('a valid given name results in a valid pod name', () => {
    fc.assert(
      fc.property(fc.oneof(anyText, fc.stringMatching(/^[A-Za-z0-9_.-]{1,220}$/)), (name) => {
        if (nameProblem(name) === undefined) expect(isPodName(normalizeName(name)), name).toBe(true);
      }),
      RUNS,
    );
  });
  test('joined ids are ASCII, and with a suffix within the length', () => {
    fc.assert(
      fc.property(fc.array(anyText, { minLength: 1, maxLength: 3 }), fc.integer({ min: 12, max: 63 }), (ids, most) => {
        const id = createUniqueId(ids, most);
        expect(id).toMatch(/^([a-z0-9]([a-z0-9-]*[a-z0-9])?)?$/);
        const suffixed = addSuffix(id, 'x7k2m9qz', most);
        expect(suffixed.length <= most && isPodName(suffixed), suffixed).toBe(true);
      }),
      RUNS,
    );
  });
});

describe('labels', () => {
  test('any text results in a valid value, the same each time, and different for different texts', () => {
    fc.assert(
      fc.property(anyText, anyText, (one, other) => {
        const value = makeSafeLabelValue(one);
        expect(labelValueProblem(value)).toBeUndefined();
        expect(makeSafeLabelValue(one)).toBe(value);
        if (one !== other && one.isWellFormed() && other.isWellFormed())
          expect(makeSafeLabelValue(other)).not.toBe(value);
      }),
      RUNS,
    );
  });
  test('of a run are all valid', () => {
    fc.assert(
      fc.property(
        anyText,
        anyText,
        anyText,
        anyText,
        fc.integer({ min: -1, max: 1e6 }),
        (dagId, taskId, runId, installation, mapIndex) => {
          const context = { dagId, taskId, runId, mapIndex, parentDagId: dagId };
          const all = {
            ...taskLabels(context, 1),
            ...podLabels({ installation, run: { tenant: taskId, runId }, attempt: 1, queue: 'q', context }),
          };
          for (const [key, value] of Object.entries(all))
            expect([labelKeyProblem(key), labelValueProblem(value)]).toEqual([undefined, undefined]);
        },
      ),
      RUNS,
    );
  });
});

test('a manifest is deterministic, always has reentry’s labels, and prints no value of a variable', () => {
  const settings = {
    ...{ installation: 'i', run: { tenant: 't', runId: 'r' }, attempt: 1, queue: 'q', context: {} },
    ...{ defaultNamespace: 'default', podSecurity: 'baseline' as const, xcomSidecar: {} },
  };
  fc.assert(
    fc.property(
      pod,
      pod,
      labels,
      fc.dictionary(fc.stringMatching(/^[A-Z]{1,5}$/), fc.constant('hidden-value')),
      (full, template, own, envVars) => {
        const params = podParamsSchema.parse({
          ...{ image: 'i', fullPodSpec: full, podTemplateDict: template, envVars, doXcomPush: true },
          labels: { ...own, kubernetes_pod_operator: 'no' },
        });
        const manifest = podManifest(params, settings);
        expect(podManifest(params, settings)).toEqual(manifest);
        expect(recordIn(recordIn(manifest, 'metadata'), 'labels')).toMatchObject(podLabels(settings));
        expect(textIn(recordsIn(recordIn(manifest, 'spec'), 'containers')[0], 'name')).toBe('base');
        expect(JSON.stringify(redactedManifest(manifest))).not.toContain('hidden-value');
      },
    ),
    RUNS,
  );
});
