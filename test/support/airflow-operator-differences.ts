/**
 * Deliberate differences of the pod operator from Airflow: the table of `src/airflow/README.md`. The parity tests allow a default to differ
 * only where a row of it states the value.
 */

/** One deliberate difference. */
export interface Difference {
  /** What it is about. */
  readonly topic: string;
  readonly airflow: string;
  readonly here: string;
  readonly why: string;
  /** A parameter whose default differs, and what it is here. */
  readonly default?: { readonly parameter: string; readonly value: string | number | boolean };
}

/** The table. */
export const OPERATOR_DIFFERENCES: readonly Difference[] = [
  {
    topic: '`deferrable`',
    airflow: 'off unless configured; a task that waits holds a worker slot and polls',
    here: 'on; `false` occupies a slot, on the same shared watch',
    why: 'waiting costs nothing here',
    default: { parameter: 'deferrable', value: true },
  },
  {
    topic: 'credentials (`config_file`, `in_cluster`, `cluster_context`)',
    airflow: 'parameters; the connection’s secrets travel inside the trigger',
    here: 'refused in a request, which names a connection of the worker’s configuration',
    why: 'secrets never travel',
  },
  {
    topic: 'name suffix',
    airflow: 'eight random characters',
    here: 'ten characters of the attempt’s hash',
    why: 'a repeated creation finds the first pod instead of making a second',
  },
  {
    topic: 'names and labels',
    airflow: 'some become values that Kubernetes refuses (`-`, a leading dash, other scripts’ letters)',
    here: 'a value that Kubernetes accepts, or a refusal of the request with the field’s path',
    why: 'a run should fail when it is submitted, not when it is launched',
  },
  {
    topic: 'templates',
    airflow: 'Jinja',
    here: 'Liquid, in the same fields; Jinja’s methods and parentheses are refused, with the Liquid spelling',
    why: 'a template of a request must not run code',
  },
  {
    topic: '`pod_template_file`',
    airflow: 'a path; a file that is missing is an empty template and a warning',
    here: 'a name in the worker’s template folder; an unknown one is refused',
    why: 'requests do not read files, and a typo must not start another pod',
  },
  {
    topic: '`yes`, `no`, `on` and `off` without quotes in a pod template',
    airflow: 'YAML 1.1: booleans, which become `"True"` and `"False"` where Kubernetes expects text',
    here: 'YAML 1.2: text as written; `true`, `1` and `1.0` become `"True"`, `"1"` and `"1.0"` as in Airflow',
    why: 'what is written in a label or variable is what is meant',
  },
  {
    topic: '`NaN` and `Infinity` in a result',
    airflow: 'accepted: Python reads them',
    here: 'refused as `RESULT_INVALID`',
    why: 'they are not JSON, which every client of a result reads',
  },
  {
    topic: '`_execution_deadline`',
    airflow: 'an entry of the trigger’s `trigger_kwargs`',
    here: 'the library class: `executionDeadline` beside them, in epoch seconds',
    why: '`trigger_kwargs` are the user’s alone',
  },
  {
    topic: '`image_pull_secrets` as text',
    airflow: 'spaces after commas become part of the names',
    here: 'trimmed',
    why: 'no secret has such a name',
  },
  {
    topic: '`is_delete_operator_pod`',
    airflow: 'accepted and ignored',
    here: 'without `onFinishAction`, `false` keeps the pod',
    why: 'an explicit parameter should take effect',
  },
  {
    topic: '`poll_interval`, `startup_check_interval_seconds`, `base_container_status_polling_interval`',
    airflow: 'how often each task asks the API server',
    here: 'accepted; no effect on a worker’s run; the library’s class uses them',
    why: 'one shared watch reports every change',
  },
  {
    topic: '`logging_interval`',
    airflow: 'the triggerer prints logs (newer releases), one reader per task',
    here: 'a `running` event resumes a worker, which stores the new lines',
    why: 'only workers read logs, from an exact position on',
  },
  {
    topic: 'deadlines',
    airflow: 'begin again when a triggerer restarts',
    here: 'absolute, and stored with the run',
    why: 'a restart must not make a run longer',
  },
  {
    topic: '`execution_timeout` while deferred',
    airflow: 'not enforced in the releases compared',
    here: 'enforced, and copied to `activeDeadlineSeconds`',
    why: 'a run ends even while no triggerer runs',
  },
  {
    topic: 'pod gone at re-entry',
    airflow: 'an API error, or a success without a result',
    here: 'its last state, which the event carries, decides; a missing result is reported',
    why: 'the outcome must not depend on which process cleaned up first',
  },
  {
    topic: 'a pod of several main containers',
    airflow:
      'the pod’s phase decides: another one that fails fails the task, one that works on keeps it waiting; with a result or istio the base container decides',
    here: 'the base container alone decides; the exit code of another changes nothing, and one that still works is ended with the pod, unless that is retained',
    why: 'one rule for every pod: a sidecar neither fails a run nor keeps it from ending',
  },
  {
    topic: 'a verdict that is not the base container’s own end',
    airflow: 'the event is final (after an `error` event the pod is read once more)',
    here: 'the pod is read once more: if it has started or ended meanwhile, that decides',
    why: 'a pod that started while all workers were down must not fail',
  },
  {
    topic: '`on_finish_action` of a pod that never began',
    airflow: 'retained with `keep_pod`; it may start after its task has failed',
    here: 'deleted (unless `onKillAction` retains it): every retained pod has ended',
    why: 'no pod works for a run that is over',
  },
  {
    topic: '`on_finish_action` with `random_name_suffix=False` and retries',
    airflow: 'the next attempt fails, because the retained pod has its name',
    here: 'a failed attempt’s pod is deleted before the next; the last one’s is retained',
    why: 'one name, one pod',
  },
  {
    topic: 'errors of watching',
    airflow: 'end the task as failed',
    here: 'are retried inside the triggerer; they end no run',
    why: 'an error of reentry is not an error of the pod',
  },
  {
    topic: 'cancel while deferred',
    airflow: 'may leave the pod running',
    here: 'the pod is deleted first; `cancelled` is published when it is gone',
    why: 'a pod must not outlive its run',
  },
  {
    topic: 'infrastructure failures',
    airflow: 'spend one of the task’s retries',
    here: 'eviction, preemption, lost nodes and throttled pulls have a limit of their own (5)',
    why: 'the user’s retries are for the user’s failures',
  },
  {
    topic: 'failed pod without container statuses',
    airflow: '`error`: the launch failed',
    here: '`failed`, with the pod’s reason',
    why: 'the pod’s status has the cause',
  },
  {
    topic: 'transient pull errors',
    airflow:
      '`context deadline exceeded`, `no such host`, `connection refused` and a back-off without a reason are fatal',
    here: 'the run waits until the startup time-out',
    why: 'they are temporary; a back-off without a reason follows an error that had one',
  },
  {
    topic: 'result of a failed task',
    airflow: 'pushed twice',
    here: 'once',
    why: 'one run, one result',
  },
  {
    topic: 'results (`do_xcom_push`)',
    airflow: 'always a sidecar and an exec',
    here: 'the termination message if it is JSON, else the sidecar’s file',
    why: 'most results are small; no sidecar, no exec',
  },
  {
    topic: '`container_logs`, `init_container_logs` when deferred',
    airflow: 'ignored',
    here: 'honoured',
    why: 'the log should not depend on how the run waits',
  },
  {
    topic: 'log lines',
    airflow:
      'words such as `now` or `1000` can be read as times, continued lines are doubled, a second read repeats lines',
    here: 'only RFC 3339 is a time; each line is stored once, gaps are marked',
    why: 'a log is evidence',
  },
  {
    topic: '`container_name_log_prefix_enabled`',
    airflow: '`[container]` is part of each stored line',
    here: 'stored lines are the container’s own, under its name; readers show `[container]` for a log of several containers',
    why: 'programs read logs too, and a log of one container needs no name on each line',
  },
  {
    topic: '`log_events_on_startup`',
    airflow: 'requests the pod’s events repeatedly while it starts',
    here: 'requests them when a worker resumes, and only if the start failed or was slow; stored as a log of its own, `pod.startup`',
    why: 'a good start costs no request, and waiting costs nothing',
  },
  {
    topic: '`log_pod_spec_on_failure`',
    airflow: 'prints environment values in clear',
    here: 'values are hidden',
    why: 'more people may read logs than secrets',
  },
  {
    topic: '`trigger_kwargs`',
    airflow: 'can replace an event’s status',
    here: 'added to the event that `onOperatorResuming` gets; never replace a field of it',
    why: 'a parameter must not turn a failure into a success',
  },
  {
    topic: '`progress_callback`',
    airflow: 'called with every raw line in older releases; stored and never called in newer ones',
    here: 'names registered callbacks; only their `progressCallback` is called, with the line without its time',
    why: 'a request cannot carry code, and an accepted parameter should take effect',
  },
  {
    topic: 'labels `airflow_version`, `airflow_kpo_in_cluster`',
    airflow: 'on every pod',
    here: 'not set; `reentry.dev/installation` and `reentry.dev/run` identify the pod’s owner',
    why: 'the release of the launcher is no property of the pod',
  },
  {
    topic: 'labels `already_checked`, `airflow_executor_done`, `airflow_pod_revoked` in a request',
    airflow: 'copied to the pod, which is then not found again',
    here: 'dropped, as are `kubernetes_executor` and `airflow-worker` of what the pod operator runs',
    why: 'a spec exported from a retained pod has them, and they describe that pod',
  },
];
