/** One pod is one attempt: a kubelet that repeats its containers would repeat the work behind the run's verdict. */
import { isRecord, recordsIn } from '../core/json.ts';

/** Where a pod spec has Kubernetes restart single containers (1.34 and newer); an init container that always restarts is a sidecar, and stays. */
export function restartsInSpec(spec: unknown): readonly { readonly path: string; readonly message: string }[] {
  return (['initContainers', 'containers'] as const).flatMap((list) =>
    recordsIn(isRecord(spec) ? spec : {}, list).flatMap((container, index) => {
      const path = `pod.spec.${list}[${String(index)}]`;
      const { restartPolicy, restartPolicyRules } = container;
      const mayStay =
        restartPolicy === undefined ||
        restartPolicy === null ||
        restartPolicy === 'Never' ||
        (list === 'initContainers' && restartPolicy === 'Always');
      const message = 'would repeat the container behind the run; use `retries` instead';
      return [
        ...(mayStay ? [] : [{ path: `${path}.restartPolicy`, message }]),
        ...(restartPolicyRules === undefined || restartPolicyRules === null
          ? []
          : [{ path: `${path}.restartPolicyRules`, message }]),
      ];
    }),
  );
}
