import { findPodSelector, makeSafeLabelValue, normalizeLabels, taskLabels } from '../../src/core/pod/labels.ts';
import { recordIn, textIn, numberIn } from '../../src/core/json.ts';
import { addSuffix, createUniqueId, nameProblem, normalizeName } from '../../src/core/pod/names.ts';
import { ReentryError } from '../../src/errors.ts';
import type { RunContext } from '../../src/wire/run-request.ts';
import { compareWithOracle, type OracleCase } from './harness.ts';

/** Functions of executor pods; names-executor.test.ts compares them. */
const EXECUTOR = /annotations_to_key|datestring/;

const refused = (message: string): never => {
  throw new ReentryError('INVALID_REQUEST', message, { transient: false });
};

const functionOf = ({ input }: OracleCase): string => String(input['function']);
const suffixOf = ({ input }: OracleCase): string => {
  const length = numberIn(input, 'rand_len') ?? 8;
  return (textIn(input, 'rand') ?? '').repeat(length).slice(0, length);
};

/** The recordings use this task when a case has none. */
function contextOf({ input }: OracleCase): RunContext {
  const given = recordIn(input, 'context');
  const parentDagId = textIn(given, 'parent_dag_id');
  const mapIndex = numberIn(given, 'map_index');
  return {
    dagId: textIn(given, 'dag_id') ?? 'dag',
    taskId: textIn(given, 'task_id') ?? 'task',
    runId: textIn(given, 'run_id') ?? 'test',
    ...(mapIndex === undefined ? {} : { mapIndex }),
    ...(parentDagId === undefined ? {} : { parentDagId }),
  };
}

function answer(theCase: OracleCase): unknown {
  const { input } = theCase;
  switch (functionOf(theCase).replace(/^operator\./, '')) {
    case 'create_unique_id': {
      const ids = [textIn(input, 'dag_id'), textIn(input, 'task_id')].filter((id) => id !== undefined);
      if (ids.length === 0) return refused('no id');
      const id = createUniqueId(ids, numberIn(input, 'max_length'));
      return input['unique'] === true ? addSuffix(id, suffixOf(theCase), numberIn(input, 'max_length')) : id;
    }
    case 'add_unique_suffix':
      return addSuffix(String(input['name']), suffixOf(theCase), numberIn(input, 'max_len'));
    case 'make_safe_label_value':
      return makeSafeLabelValue(String(input['string']));
    case '_set_name': {
      if (typeof input['name'] !== 'string') return null;
      const problem = nameProblem(input['name']);
      return problem === undefined ? normalizeName(input['name']) : refused(problem);
    }
    case '_normalize_labels_dict':
      return normalizeLabels(recordIn(input, 'labels'));
    case '_get_ti_pod_labels':
      return taskLabels(contextOf(theCase), input['include_try_number'] === true ? 1 : undefined);
    case '_build_find_pod_label_selector':
      return findPodSelector(recordIn(input, 'labels'), input['context'] === null ? undefined : contextOf(theCase), {
        excludeChecked: input['exclude_checked'] === true,
      });
    default:
      throw new Error(`no adapter for ${functionOf(theCase)}`);
  }
}

const textOf = ({ theirs }: OracleCase): string => ('output' in theirs ? JSON.stringify(theirs.output) : '');

compareWithOracle('names', {
  only: (theCase) => !EXECUTOR.test(functionOf(theCase)),
  answer,
  rules: [
    {
      reason: 'a suffix longer than the limit is cut: Airflow returns more than the limit',
      when: ({ input, theirs }) =>
        'output' in theirs && String(theirs.output).length > (numberIn(input, 'max_len') ?? Number.POSITIVE_INFINITY),
      instead: (_, theCase) => ({ output: suffixOf(theCase).slice(0, numberIn(theCase.input, 'max_len')) }),
    },
    {
      reason:
        'an empty name before the suffix becomes `pod`, as far as there is room: Kubernetes refuses a leading dash',
      when: (theCase) => /unique/.test(functionOf(theCase)) && /^"-/.test(textOf(theCase)),
      instead: (theirs, theCase) => {
        const most = numberIn(theCase.input, 'max_len') ?? numberIn(theCase.input, 'max_length') ?? 63;
        const name = 'pod'.slice(0, Math.max(0, most - suffixOf(theCase).length - 1));
        return { output: name === '' ? suffixOf(theCase).slice(0, most) : `${name}-${suffixOf(theCase)}` };
      },
    },
    {
      reason: 'a value without any legal character becomes its hash alone: Kubernetes refuses a leading dash',
      when: (theCase) =>
        /safe_label_value|_labels|_label_selector/.test(functionOf(theCase)) && /(^"|=|:")-/.test(textOf(theCase)),
      instead: (theirs) =>
        'output' in theirs
          ? { output: JSON.parse(JSON.stringify(theirs.output).replace(/(^"|=|:")-/g, '$1')) }
          : theirs,
    },
    {
      reason: 'a given name has ASCII letters and digits only, and at least one: Airflow turns others into dashes',
      when: (theCase) =>
        functionOf(theCase) === 'operator._set_name' &&
        (!/^[\w.-]*$/.test(String(theCase.input['name'])) || !/[a-z0-9]/i.test(String(theCase.input['name']))),
      instead: () => ({ error: 'refused' }),
    },
    {
      reason: 'a given name neither begins nor ends with a dash: Kubernetes refuses it',
      when: (theCase) => functionOf(theCase) === 'operator._set_name' && /^"-|-"$/.test(textOf(theCase)),
      instead: (theirs) => ('output' in theirs ? { output: String(theirs.output).replace(/^-+|-+$/g, '') } : theirs),
    },
  ],
});
