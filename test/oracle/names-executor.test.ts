import { isRecord, recordIn } from '../../src/core/json.ts';
import { ReentryError } from '../../src/errors.ts';
import { datetimeToLabelSafeDatestring, labelSafeDatestringToDatetime } from '../../src/core/pod/executor-labels.ts';
import { annotationsToKey } from '../../src/airflow/task-key.ts';
import { compareWithOracle, type OracleCase } from './harness.ts';

const EXECUTOR_FUNCTIONS: ReadonlySet<unknown> = new Set([
  'annotations_to_key',
  'datetime_to_label_safe_datestring',
  'label_safe_datestring_to_datetime',
]);

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

function answer({ input }: OracleCase): unknown {
  switch (input['function']) {
    case 'annotations_to_key': {
      const annotations = Object.fromEntries(
        Object.entries(recordIn(input, 'annotations')).map(([key, value]) => [
          key,
          typeof value === 'string' ? value : null,
        ]),
      );
      const key = annotationsToKey(annotations);
      // A watcher counts such a pod and continues; there is no key for it.
      if (key === undefined) throw new ReentryError('NOT_FOUND', 'no task is named', { transient: false });
      const { dagId, taskId, runId, tryNumber, mapIndex } = key;
      return { dag_id: dagId, task_id: taskId, run_id: runId, try_number: tryNumber, map_index: mapIndex };
    }
    case 'datetime_to_label_safe_datestring':
      return datetimeToLabelSafeDatestring(textOf(input['datetime']));
    default:
      return labelSafeDatestringToDatetime(textOf(input['string']));
  }
}

const underscored = (value: unknown): boolean => typeof value === 'string' && /^\s*[+-]?\d+(_\d+)+\s*$/.test(value);

compareWithOracle(
  'names',
  {
    only: ({ input }) => EXECUTOR_FUNCTIONS.has(input['function']),
    answer,
    rules: [
      {
        reason: 'digits with underscores are a number in Python only; here they are no try number',
        when: ({ input }) =>
          isRecord(input['annotations']) &&
          ['try_number', 'map_index'].some((name) => underscored(recordIn(input, 'annotations')[name])),
        instead: () => ({ error: 'refused' }),
      },
      {
        reason: 'an empty run id counts as none',
        when: ({ input }) => recordIn(input, 'annotations')['run_id'] === '',
        instead: (theirs) =>
          'output' in theirs && isRecord(theirs.output) ? { output: { ...theirs.output, run_id: null } } : theirs,
      },
      {
        reason: 'an empty dag or task id names no task',
        when: ({ input }) => ['dag_id', 'task_id'].some((name) => recordIn(input, 'annotations')[name] === ''),
        instead: () => ({ error: 'refused' }),
      },
    ],
  },
  'executor part',
);
