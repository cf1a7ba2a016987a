/** The `pod` operator under the seed's name. */
export {
  PodOperator as KubernetesPodOperator,
  type PodOperatorOptions as KubernetesPodOperatorOptions,
} from './pod-operator.ts';
