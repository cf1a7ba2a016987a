/** Deliberate differences of the executor from Airflow's: the table of `src/airflow/README.md`, and the reasons that tests refer to. */
import type { Difference } from './airflow-operator-differences.ts';

/** In the order of a task's life. */
export const EXECUTOR_DIFFERENCES: readonly Difference[] = [
  {
    topic: 'an `executor_config` that is wrong',
    airflow: 'the task fails, and its slot is never freed',
    here: 'the task fails and its slot is free',
    why: 'slots must not leak',
  },
  {
    topic: 'the dictionary of Airflow 1.10 (`KubernetesExecutor: {…}`), plain maps as `pod_override`',
    airflow: 'refused: an override is a Python object',
    here: 'accepted and converted to an override; both together are refused',
    why: 'there are no Python objects here, and old DAGs need not change',
  },
  {
    topic: 'a bad command or template',
    airflow: '`sync` throws, and the task is lost',
    here: 'the task fails with the reason, the others go on',
    why: 'one task must not stop a loop',
  },
  {
    topic: '`restartPolicy`',
    airflow: 'Kubernetes’ default where the template names none: the container is started again',
    here: '`Never`, unless the template, task or override names one',
    why: 'a task runs once per try',
  },
  {
    topic: 'a pod in a namespace outside the watched ones',
    airflow: 'created, its end never seen',
    here: 'refused; the namespace where pods are created is always watched',
    why: 'its end would not be observed',
  },
  {
    topic: 'a creation whose answer was lost',
    airflow: 'repeated under another name: two pods',
    here: 'repeated under the same name, which finds the first',
    why: 'one pod per launch',
  },
  {
    topic: 'broken connections, `Retry-After`',
    airflow: 'plain resets and time-outs fail the task; negative waits are taken',
    here: 'both are transient; whole seconds or an HTTP date',
    why: 'temporary failures should not fail a task',
  },
  {
    topic: 'watching',
    airflow: 'a process per namespace, from version "0" after every loss: old events again and again',
    here: 'the shared watch: bookmarks, one list after 410, each change once',
    why: 'replayed events end tasks that have started again',
  },
  {
    topic: 'pods that name no task (no annotations, no run), empty container lists',
    airflow: 'the watcher process dies of them',
    here: 'counted and skipped; pending',
    why: 'one foreign pod must not stop all tasks',
  },
  {
    topic: 'results of an earlier pod of the same try',
    airflow: 'end the new one’s task',
    here: 'are recognized by uid; that pod is deleted or marked',
    why: 'a reschedule is not a failure',
  },
  {
    topic: 'a result that cannot be applied',
    airflow: 'tried again without pause inside the same loop',
    here: 'once a sync',
    why: 'one bad result must not spin',
  },
  {
    topic: 'a pending pod that is given up while failed pods are retained',
    airflow: 'left alone: it can still start beside its replacement',
    here: 'deleted',
    why: 'one live pod per try',
  },
  {
    topic: 'deletions',
    airflow: 'one per event',
    here: 'one per pod, with its uid',
    why: 'a name can come back as another pod',
  },
  {
    topic: 'pods that vanish without an event',
    airflow: 'their task holds its slot until a time-out of the scheduler',
    here: 'searched for every `orphaned_tasks_check_interval`; the task fails with `PodVanished`',
    why: 'slots must not leak',
  },
  {
    topic: '`revoke_task`',
    airflow: 'deletes the pod of any try, and misses jobs that still wait',
    here: 'deletes this try’s pod, also one in creation, and removes its job',
    why: 'a revoked task must not run',
  },
  {
    topic: 'finished pods of owners that are gone',
    airflow: 'taken over even if the other schedulers cannot be queried',
    here: 'left alone if they cannot be queried; for tasks offered for adoption, a succeeded pod counts',
    why: 'a sibling’s task must not be lost',
  },
  {
    topic: 'blank or padded names in lists, `worker_pods_creation_batch_size` 0, unknown options of deletions',
    airflow: 'accepted as they are',
    here: 'trimmed and dropped; refused',
    why: 'a typo should be reported at the start',
  },
];
