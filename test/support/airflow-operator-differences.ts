/**
 * Where we differ from Airflow on purpose, once: the README prints it, and the parity tests take a default that differs from here and
 * from nowhere else. @see design §5
 */

/** One deliberate difference. */
export interface Deviation {
  /** What it is about. */
  readonly topic: string;
  readonly airflow: string;
  readonly here: string;
  readonly why: string;
  /** A parameter whose default differs, and what it is here. */
  readonly default?: { readonly parameter: string; readonly value: string | number | boolean };
}

/** The table. */
export const DEVIATIONS: readonly Deviation[] = [
  {
    topic: '`deferrable`',
    airflow: 'off unless configured; a task that waits holds a worker slot and polls',
    here: 'on; `false` holds a slot, on the same shared watch',
    why: 'waiting costs nothing here',
    default: { parameter: 'deferrable', value: true },
  },
  {
    topic: 'credentials (`config_file`, `in_cluster`, `cluster_context`)',
    airflow: 'parameters; the connection’s secrets travel inside the trigger',
    here: 'refused in a request: it names a connection of the worker’s configuration',
    why: 'secrets never travel',
  },
  {
    topic: 'name suffix',
    airflow: 'eight random characters',
    here: 'ten characters of the attempt’s hash',
    why: 'creating twice meets the same pod instead of making a second',
  },
  {
    topic: 'names and labels',
    airflow: 'some become values that Kubernetes refuses (`-`, a leading dash, other scripts’ letters)',
    here: 'a value that Kubernetes takes, or a refusal at once with its field',
    why: 'a run should fail when it is asked for, not when it is launched',
  },
  {
    topic: 'templates',
    airflow: 'Jinja',
    here: 'Liquid, over the same fields; Jinja’s methods and parentheses are refused with the way to write it',
    why: 'a template of a request must not run code',
  },
  {
    topic: '`pod_template_file`',
    airflow: 'a path; a file that is missing is an empty template and a warning',
    here: 'a name in the worker’s template folder; an unknown one is refused',
    why: 'requests do not read files, and a typo must not start another pod',
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
    why: 'what is asked for in so many words should happen',
  },
  {
    topic: '`poll_interval`, `startup_check_interval_seconds`, `base_container_status_polling_interval`',
    airflow: 'how often each task asks the API server',
    here: 'accepted, and no effect on a worker’s run; the library’s class polls by them',
    why: 'one shared watch tells of every change; nothing is polled',
  },
  {
    topic: '`logging_interval`',
    airflow: 'the triggerer prints logs (newer releases), one reader per task',
    here: 'a worker is resumed by a `running` event and stores what is new',
    why: 'logs are read by workers only, from an exact place on',
  },
  {
    topic: 'deadlines',
    airflow: 'begin again when a triggerer restarts',
    here: 'absolute, and kept with the run',
    why: 'a restart must not make a run longer',
  },
  {
    topic: '`execution_timeout` while deferred',
    airflow: 'not enforced in the releases compared',
    here: 'enforced, and mirrored to `activeDeadlineSeconds`',
    why: 'a run that nobody watches still ends',
  },
  {
    topic: 'pod gone at re-entry',
    airflow: 'an API error, or a success without a result',
    here: 'its last state travelled with the event and decides; a missing result is said',
    why: 'the truth does not depend on who cleaned up first',
  },
  {
    topic: 'a pod of several main containers',
    airflow:
      'the pod’s phase decides: another one that fails fails the task, one that works on keeps it waiting; with a result or istio the base container decides',
    here: 'the base container alone decides; what another exits with changes nothing, and one that still works is ended with the pod, where that is not kept',
    why: 'one rule for every pod: a helper beside the work neither fails a run nor keeps it from ending',
  },
  {
    topic: 'a verdict that is not the base container’s own end',
    airflow: 'the event’s word is final (an `error` event is looked at once more)',
    here: 'the pod is looked at once more: one that has started or ended meanwhile has its own fate',
    why: 'workers that were away must not fail a pod that came up after all',
  },
  {
    topic: '`on_finish_action` of a pod that never began',
    airflow: 'kept where it says keep; it may start after its task has failed',
    here: 'deleted (unless `onKillAction` keeps it): what is kept has ended',
    why: 'nothing runs for a run that has had its answer',
  },
  {
    topic: '`on_finish_action` with `random_name_suffix=False` and retries',
    airflow: 'the next attempt meets the kept pod’s name and fails',
    here: 'an attempt’s pod makes room for the next; the last one’s is kept',
    why: 'one name, one pod',
  },
  {
    topic: 'errors of watching',
    airflow: 'end the task as failed',
    here: 'are repeated inside the triggerer; no run ends by them',
    why: 'an error of ours is not an error of the pod',
  },
  {
    topic: 'cancel while deferred',
    airflow: 'may leave the pod running',
    here: 'the pod is deleted first, `cancelled` said when it is gone',
    why: 'a pod must not outlive its run',
  },
  {
    topic: 'infrastructure failures',
    airflow: 'spend one of the task’s retries',
    here: 'eviction, preemption, lost nodes and throttled pulls have a cap of their own',
    why: 'the user’s retries are for the user’s failures',
  },
  {
    topic: 'failed pod without container statuses',
    airflow: '`error`: the launch failed',
    here: '`failed`, with the pod’s reason',
    why: 'the pod says what happened',
  },
  {
    topic: 'transient pull errors',
    airflow:
      '`context deadline exceeded`, `no such host`, `connection refused` and a back-off without a reason are fatal',
    here: 'they are waited out until the startup time-out',
    why: 'they pass by themselves, and a bare back-off follows an error that has said why',
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
    here: 'the termination message where it is JSON, else the sidecar’s file',
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
      'words such as `now` or `1000` can pass as times, continued lines are doubled, reading again repeats lines',
    here: 'only RFC 3339 is a time; each line is stored once, gaps are marked',
    why: 'a log is evidence',
  },
  {
    topic: '`container_name_log_prefix_enabled`',
    airflow: '`[container]` is part of each line that is kept',
    here: 'stored lines are the container’s own, under its name; readers are shown `[container]` where the log is of several containers',
    why: 'programs read logs, too, and a log of one container needs no name on each line',
  },
  {
    topic: '`log_events_on_startup`',
    airflow: 'asks for the pod’s events again and again while it starts',
    here: 'asks when a worker comes by, and only of starts that failed or were slow; kept as a log of its own, `pod.startup`',
    why: 'a start that goes well costs no call, and waiting costs nothing',
  },
  {
    topic: '`log_pod_spec_on_failure`',
    airflow: 'prints environment values in clear',
    here: 'values are hidden',
    why: 'logs are read by more people than secrets',
  },
  {
    topic: '`trigger_kwargs`',
    airflow: 'can replace an event’s status',
    here: 'carried by the event that `onOperatorResuming` is told of; never replace a field of its own',
    why: 'a parameter must not turn a failure into a success',
  },
  {
    topic: '`progress_callback`',
    airflow: 'called with every raw line in older releases; stored and never called in newer ones',
    here: 'names registered callbacks, whose `progressCallback` hook alone is called, with the line without its time',
    why: 'what is accepted should happen; a request cannot carry code',
  },
  {
    topic: 'labels `airflow_version`, `airflow_kpo_in_cluster`',
    airflow: 'on every pod',
    here: 'not set; `reentry.dev/installation` and `reentry.dev/run` say whose a pod is',
    why: 'the release of the launcher is no property of the pod',
  },
  {
    topic: 'labels `already_checked`, `airflow_executor_done`, `airflow_pod_revoked` in a request',
    airflow: 'taken over: the pod is then not found again',
    here: 'dropped, as are `kubernetes_executor` and `airflow-worker` of what the pod operator runs',
    why: 'a spec exported from a kept pod brings them, and they speak of that pod',
  },
];
