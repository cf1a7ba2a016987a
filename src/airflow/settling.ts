/** A pod's result becomes its task's event, another launch, or nothing. @see spec executor §5.3 */
import { asksTaskState, decideLaunch, podActionFor } from './end-decision.ts';
import { POD_VANISHED } from './kubernetes-job-watcher.ts';
import { ADOPTED, type KubernetesResults } from './records.ts';
import type { ExecutorParts } from './task-book.ts';
import { keyText } from './task-key.ts';
import { failureText } from './watch-decision.ts';

/** A launched pod that the watch has not shown for so long is asked for by name. */
const UNSEEN_MS = 30_000;

/** Applies one result. Safe to repeat, also after it was rejected halfway. @throws KubernetesError when the pod could not be deleted */
export async function settle(parts: ExecutorParts, result: KubernetesResults): Promise<void> {
  const { tasks, book, store, log } = parts;
  const { key, state, failureDetails } = result;
  const id = keyText(key);
  if (book.launched.isAccounted(result)) return;
  if (failureDetails !== undefined) log?.warn({ task: key, pod: result.podName, failureDetails }, 'a task pod failed');
  const superseded = isSuperseded(parts, result);
  if (state === ADOPTED) {
    if (superseded || book.launched.isDisposed(result)) return;
    book.forget(key);
    tasks.running.delete(id);
    return;
  }
  if (state === 'running') {
    if (!superseded) tasks.recordEvent(key, { state, info: undefined }, true);
    return;
  }
  await dispose(parts, result, superseded);
  if (superseded || (await launchAgain(parts, result)) || !tasks.running.has(id)) return;
  // Asked before anything is forgotten: should the keeper not answer, the result comes again.
  const said = state ?? (store.state === undefined ? 'success' : await store.state(key));
  book.forget(key);
  book.launched.accounted(result);
  const info = failureDetails === undefined ? undefined : failureText(failureDetails);
  tasks.recordEvent(key, { state: said, info, ...(failureDetails === undefined ? {} : { failureDetails }) });
}

/** Whether a result is about an earlier pod of the same try: that says nothing about the one that was launched, or is about to be. */
function isSuperseded({ tasks, book }: ExecutorParts, result: KubernetesResults): boolean {
  const id = keyText(result.key);
  if (!tasks.running.has(id)) return false;
  if (book.launched.has(id)) return book.launched.isAnother(id, result);
  const attempt = book.attempts.get(id);
  return attempt !== undefined && attempt.requeuedForPod !== result.podName;
}

async function dispose({ book, scheduler, kubeConfig }: ExecutorParts, result: KubernetesResults, superseded: boolean) {
  if (book.launched.isDisposed(result)) return;
  const { podName, namespace, podUid } = result;
  const action = podActionFor(result.state, kubeConfig);
  // Kept for people to look at; but one that may still start must go.
  const goes = action === 'delete' || (action === 'keep' && result.stillThere === true);
  if (goes) await scheduler.deletePod(podName, namespace, podUid);
  else if (action === 'markDone' || (action === 'keep' && superseded)) await scheduler.patchPodExecutorDone(result);
  else return;
  book.launched.disposed(result);
}

/** Whether the task gets another pod, or has got one because of this one. */
async function launchAgain(
  { book, store, kubeConfig, log }: ExecutorParts,
  result: KubernetesResults,
): Promise<boolean> {
  const id = keyText(result.key);
  const attempt = book.attempts.get(id);
  const options = {
    maxRetries: kubeConfig.podLaunchFailureRetries,
    excludedContainerReasons: kubeConfig.podLaunchFailureExcludedContainerReasons,
  };
  if (attempt === undefined || !asksTaskState(result.state, attempt, options)) return false;
  // Where nobody keeps the tasks, one whose container never ran is still queued.
  const unbegun = result.began === false ? 'queued' : null;
  const taskState = store.state === undefined ? unbegun : await store.state(result.key);
  const decision = decideLaunch(result, attempt, taskState, options);
  if (decision === 'requeue') {
    book.attempts.set(id, { ...attempt, attempts: attempt.attempts + 1, requeuedForPod: result.podName });
    book.launched.delete(id);
    book.taskQueue.put(attempt.job);
    log?.warn({ task: result.key, pod: result.podName }, 'the pod died before the task began; it gets another');
  }
  return decision !== 'end';
}

/** Finds tasks whose pod is gone without a word, and queues results for them: nobody saw it end, and the slot must not be lost. */
export async function findVanished({ tasks, book, scheduler, cluster }: ExecutorParts): Promise<void> {
  const seen = new Set([...scheduler.kubeWatchers.values()].flatMap(({ pods }) => [...pods.keys()]));
  for (const [id, pod] of book.launched.olderThan(UNSEEN_MS)) {
    const key = tasks.running.get(id);
    if (key === undefined || seen.has(pod.podUid)) continue;
    const present = await cluster.getPod(pod.namespace, pod.podName);
    if (present !== undefined && cluster.project(present).uid === pod.podUid) continue;
    book.resultQueue.put({
      ...pod,
      key,
      state: 'failed',
      resourceVersion: '',
      failureDetails: { podReason: POD_VANISHED, podMessage: 'the pod is gone, and nobody saw it end' },
    });
  }
}
