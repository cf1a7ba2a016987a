/** Ceilings on a pod's resources, added up as the scheduler does. */
import { type JsonRecord, recordIn, recordsIn } from '../core/json.ts';
import { CONTAINER_LISTS } from '../core/pod/pod-security.ts';
import { quantityOf } from '../core/quantity.ts';
import { isOwnSidecar, type XcomSidecarSettings } from '../core/pod/xcom-sidecar.ts';

/** Ceilings by resource name (`cpu`, `memory`, `nvidia.com/gpu`), as Kubernetes quantities. */
export type Ceilings = Readonly<Record<string, string | number>>;

/** Resources of which a container without a limit can use the whole node's. */
const UNBOUNDED: ReadonlySet<string> = new Set(['cpu', 'memory', 'ephemeral-storage']);

function amountsOf(resources: JsonRecord, resource: string): readonly [string, unknown][] {
  return (['limits', 'requests'] as const).flatMap((side): [string, unknown][] => {
    const value = recordIn(resources, side)[resource];
    return value === undefined || value === null ? [] : [[side, value]];
  });
}

/** The larger of a container's limit and request, 0 without either. `NaN` when one is not a quantity. */
function amount(container: JsonRecord, resource: string): number {
  const amounts = amountsOf(recordIn(container, 'resources'), resource).map(([, value]) => quantityOf(value) ?? NaN);
  return amounts.length === 0 ? 0 : Math.max(...amounts);
}

/**
 * What the scheduler counts for the whole pod: main containers plus sidecars, or the peak of the init phase if that is more.
 * @see https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers
 */
function wholePod(spec: JsonRecord, resource: string): number {
  let sidecars = 0;
  let initPeak = 0;
  for (const container of recordsIn(spec, 'initContainers')) {
    const own = amount(container, resource);
    if (container['restartPolicy'] === 'Always') sidecars += own;
    initPeak = Math.max(initPeak, container['restartPolicy'] === 'Always' ? sidecars : sidecars + own);
  }
  const main = recordsIn(spec, 'containers').reduce((sum, container) => sum + amount(container, resource), 0);
  return Math.max(main + sidecars, initPeak);
}

/** Whether an amount exceeds a ceiling. Tolerates rounding: 0.1 + 0.2 is not 0.3 in floating point, but 100m and 200m are 300m. */
const isOver = (amount: number, ceiling: number): boolean => amount > ceiling * (1 + 1e-12);

/** One amount over its ceiling, or a missing limit. */
interface Excess {
  readonly path: string;
  readonly message: string;
  readonly rule: string;
}

/** Where a pod exceeds its ceilings. `rule`: the name of these ceilings, for messages; `sidecar`: the connection's settings of the XCom sidecar. */
export function overCeilings(
  spec: JsonRecord,
  ceilings: { readonly perContainer?: Ceilings | undefined; readonly perPod?: Ceilings | undefined },
  rule: string,
  sidecar?: XcomSidecarSettings,
): readonly Excess[] {
  const { perContainer = {}, perPod = {} } = ceilings;
  const found: Excess[] = [];
  const containers = CONTAINER_LISTS.flatMap((list) =>
    recordsIn(spec, list).flatMap((value, index) =>
      isOwnSidecar(value, sidecar) ? [] : [{ value, path: `pod.spec.${list}[${String(index)}]` }],
    ),
  );
  for (const resource of new Set([...Object.keys(perContainer), ...Object.keys(perPod)])) {
    const single = quantityOf(perContainer[resource]) ?? Infinity;
    const whole = quantityOf(perPod[resource]) ?? Infinity;
    const ofPod = { most: whole, shown: perPod[resource], rule: `${rule}.perPod.${resource}` };
    const ofContainer =
      single <= whole
        ? { most: single, shown: perContainer[resource], rule: `${rule}.perContainer.${resource}` }
        : ofPod;
    const judge = (holder: JsonRecord, path: string, ceiling: typeof ofPod): void => {
      for (const [side, given] of amountsOf(recordIn(holder, 'resources'), resource)) {
        const number = quantityOf(given);
        const at = `${path}.resources.${side}.${resource}`;
        if (number === undefined || number < 0)
          found.push({ path: at, message: 'is not a valid quantity', rule: ceiling.rule });
        else if (isOver(number, ceiling.most))
          found.push({
            path: at,
            message: `${String(given)} exceeds the ceiling of ${String(ceiling.shown)}`,
            rule: ceiling.rule,
          });
      }
    };
    judge(spec, 'pod.spec', ofPod);
    for (const { value, path } of containers) {
      judge(value, path, ofContainer);
      if (
        UNBOUNDED.has(resource) &&
        !amountsOf(recordIn(value, 'resources'), resource).some(([side]) => side === 'limits')
      )
        found.push({
          path: `${path}.resources.limits.${resource}`,
          message: 'a limit is required, because the policy sets a ceiling',
          rule: ofContainer.rule,
        });
    }
    if (isOver(wholePod(spec, resource), whole))
      found.push({
        path: 'pod.spec',
        message: `the containers' ${resource} adds up to more than the ceiling of ${String(ofPod.shown)}`,
        rule: ofPod.rule,
      });
  }
  return found;
}
