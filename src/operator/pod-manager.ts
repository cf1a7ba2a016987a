/** The manager of pods under the seed's name. */
export { RunPods as PodManager } from './run-pods.ts';
