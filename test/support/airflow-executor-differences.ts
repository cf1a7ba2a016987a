/** What the executor does otherwise than Airflow's, once: for the README, and for whoever asks why a test expects something else. @see spec executor §14 */
import type { Deviation } from './airflow-operator-differences.ts';

/** In the order of a task's way. */
export const EXECUTOR_DEVIATIONS: readonly Deviation[] = [
  {
    topic: 'an `executor_config` that is wrong',
    airflow: 'the task fails, its slot stays taken for ever',
    here: 'the task fails and its slot is free',
    why: 'slots must not leak',
  },
  {
    topic: 'the oldest dictionary (`KubernetesExecutor: {…}`), plain maps as `pod_override`',
    airflow: 'refused: an override is a Python object',
    here: 'taken, turned into an override; both together are refused',
    why: 'there are no Python objects here, and old DAGs need not change',
  },
  {
    topic: 'a bad command or template',
    airflow: 'an exception leaves `sync`, the task is lost',
    here: 'the task fails with the reason, the others go on',
    why: 'one task must not stop a loop',
  },
  {
    topic: '`restartPolicy`',
    airflow: 'Kubernetes’ default where the template names none: the container is started again',
    here: '`Never` where nobody names one',
    why: 'a task runs once per try',
  },
  {
    topic: 'a pod in a namespace outside the watched ones',
    airflow: 'created, its end never heard',
    here: 'refused; the namespace where pods are created is always watched',
    why: 'nobody would account for it',
  },
  {
    topic: 'a creation whose answer was lost',
    airflow: 'repeated under another name: two pods',
    here: 'repeated under the same name, which meets the first',
    why: 'one pod per launch',
  },
  {
    topic: 'broken connections, `Retry-After`',
    airflow: 'plain resets and time-outs fail the task; negative waits are taken',
    here: 'both are transient; whole seconds or an HTTP date',
    why: 'what passes by itself should pass',
  },
  {
    topic: 'watching',
    airflow: 'a process per namespace, from version "0" after every loss: old events again and again',
    here: 'the shared watch: bookmarks, one list after 410, each change once',
    why: 'replays end tasks that have begun again',
  },
  {
    topic: 'pods that name no task (no annotations, no run), empty container lists',
    airflow: 'the watcher process dies of them',
    here: 'counted and skipped; pending',
    why: 'a stranger’s pod must not stop everybody’s',
  },
  {
    topic: 'results of an earlier pod of the same try',
    airflow: 'end the new one’s task',
    here: 'are told apart by uid; that pod is deleted or marked',
    why: 'a reschedule is not a failure',
  },
  {
    topic: 'a result that cannot be applied',
    airflow: 'tried again without pause inside the same loop',
    here: 'once a sync',
    why: 'one bad result must not spin',
  },
  {
    topic: 'a pending pod that is given up while failures are kept',
    airflow: 'left: it can still start beside its replacement',
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
    topic: 'pods that are gone without a word',
    airflow: 'their task holds its slot until a time-out of the scheduler',
    here: 'looked for at `orphaned_tasks_check_interval`; the task fails with `PodVanished`',
    why: 'slots must not leak',
  },
  {
    topic: '`revoke_task`',
    airflow: 'takes any try’s pod, and forgets jobs that still wait',
    here: 'takes this try’s pod, also one in creation, and its job',
    why: 'what was taken back must not run',
  },
  {
    topic: 'finished pods of owners that are gone',
    airflow: 'taken over even where siblings cannot be asked',
    here: 'left where they cannot be asked; of tasks that are offered for adoption their success counts',
    why: 'a sibling’s task must not be lost',
  },
  {
    topic: 'blank or padded names in lists, `worker_pods_creation_batch_size` 0, unknown options of deletions',
    airflow: 'taken as they are',
    here: 'trimmed and dropped; refused',
    why: 'a typo should be told at the start',
  },
];
