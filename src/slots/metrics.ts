/** Names of the executor's metrics. */
export const EXECUTOR_METRICS = {
  openSlots: 'executor_open_slots',
  runningTasks: 'executor_running_tasks',
  liveExecutors: 'executor_live_executors',
  limit: 'executor_launch_limit',
  creationMs: 'executor_pod_creation_milliseconds',
  creations: 'executor_pod_creations_total',
  queuedTasks: 'executor_queued_tasks',
  deletions: 'executor_pod_deletions_total',
  patches: 'executor_pod_patches_total',
} as const;
