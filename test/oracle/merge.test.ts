import { isRecord, type JsonRecord, recordsIn } from '../../src/core/json.ts';
import {
  extendField,
  mergeObjects,
  reconcileContainers,
  reconcileInitContainers,
  reconcileMetadata,
  reconcilePods,
  reconcileSpecs,
  unionMaps,
} from '../../src/core/pod/merge.ts';
import { compareWithOracle, type OracleCase } from './harness.ts';

const recordOrNone = (value: unknown): JsonRecord | undefined => (isRecord(value) ? value : undefined);

function merged({ input }: OracleCase): unknown {
  const { base, client } = input;
  const lists = { base, client };
  switch (input['function']) {
    case 'merge_objects': {
      // Plain maps of the user (such as labels) and typed objects are merged by two functions here.
      const merge = input['kind'] === 'dict' ? unionMaps : mergeObjects;
      return merge(recordOrNone(base), recordOrNone(client));
    }
    case 'extend_object_field':
      return extendField(recordOrNone(base), recordOrNone(client), String(input['field_name']));
    case 'reconcile_containers':
      return reconcileContainers(recordsIn(lists, 'base'), recordsIn(lists, 'client'));
    case 'reconcile_init_containers':
      return reconcileInitContainers(recordsIn(lists, 'base'), recordsIn(lists, 'client'));
    case 'reconcile_metadata':
      return reconcileMetadata(base, client);
    case 'reconcile_specs':
      return reconcileSpecs(base, client);
    case 'reconcile_pods':
      return reconcilePods(recordOrNone(base), recordOrNone(client));
    default:
      throw new Error(`no adapter for ${String(input['function'])}`);
  }
}

/** Airflow's typed objects are printed without null fields, and do not distinguish a missing from an empty list. */
const typed = (result: unknown, { input }: OracleCase): unknown => {
  if (isRecord(result) && input['kind'] !== 'dict')
    return Object.fromEntries(Object.entries(result).filter(([, value]) => value !== null));
  return /containers$/.test(String(input['function'])) ? (result ?? []) : result;
};

compareWithOracle('merge', {
  answer: (theCase) => {
    const before = JSON.stringify(theCase.input);
    const result = typed(merged(theCase), theCase);
    return { result, inputs_changed: JSON.stringify(theCase.input) !== before };
  },
  theirs: (output, theCase) => (isRecord(output) ? { ...output, result: typed(output['result'], theCase) } : output),
  rules: [
    {
      reason: 'Airflow changes its arguments while merging; our functions are pure',
      when: ({ theirs }) => 'output' in theirs && isRecord(theirs.output) && theirs.output['inputs_changed'] === true,
      instead: (theirs) =>
        'output' in theirs && isRecord(theirs.output)
          ? { output: { ...theirs.output, inputs_changed: false } }
          : theirs,
    },
  ],
});
