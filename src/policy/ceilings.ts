/** Ceilings of what a pod may use, judged as the scheduler counts. */
import { type JsonRecord, recordIn, recordsIn } from '../core/json.ts';
import { CONTAINER_LISTS } from '../core/pod/pod-security.ts';
import { quantityOf } from '../core/quantity.ts';
import { isOwnSidecar, type XcomSidecarSettings } from '../core/pod/xcom-sidecar.ts';

/** Ceilings by resource name (`cpu`, `memory`, `nvidia.com/gpu`), as Kubernetes quantities. */
export type Ceilings = Readonly<Record<string, string | number>>;

/** Limits that a missing value leaves open to the whole node. */
const UNBOUNDED: ReadonlySet<string> = new Set(['cpu', 'memory', 'ephemeral-storage']);

function amountsOf(resources: JsonRecord, resource: string): readonly [string, unknown][] {
  return (['limits', 'requests'] as const).flatMap((side): [string, unknown][] => {
    const value = recordIn(resources, side)[resource];
    return value === undefined || value === null ? [] : [[side, value]];
  });
}

/** What a container may use at most: its limit, else its request. `NaN` for what is no quantity. */
function amount(container: JsonRecord, resource: string): number {
  const amounts = amountsOf(recordIn(container, 'resources'), resource).map(([, value]) => quantityOf(value) ?? NaN);
  return amounts.length === 0 ? 0 : Math.max(...amounts);
}

/** As the scheduler counts: main containers and sidecars together, or the largest moment of the init phase. */
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

/** Whether an amount is more than a ceiling. Tenths do not add up exactly: 100m and 200m are 300m. */
const isOver = (amount: number, ceiling: number): boolean => amount > ceiling * (1 + 1e-12);

/** One thing that is over its ceiling, or has none of its own to hold it. */
interface Excess {
  readonly path: string;
  readonly message: string;
  readonly rule: string;
}

/** What of the pod is over its ceilings. `rule`: what the ceilings are called; `sidecar`: how the connection has results carried. */
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
        if (number === undefined || number < 0) found.push({ path: at, message: 'is no quantity', rule: ceiling.rule });
        else if (isOver(number, ceiling.most))
          found.push({
            path: at,
            message: `${String(given)} is more than ${String(ceiling.shown)}`,
            rule: ceiling.rule,
          });
      }
    };
    judge(spec, 'pod.spec', ofPod);
    for (const { value, path } of containers) {
      judge(value, path, ofContainer);
      // Without a limit a container may use the whole node.
      if (
        UNBOUNDED.has(resource) &&
        !amountsOf(recordIn(value, 'resources'), resource).some(([side]) => side === 'limits')
      )
        found.push({
          path: `${path}.resources.limits.${resource}`,
          message: 'a limit is required, because there is a ceiling',
          rule: ofContainer.rule,
        });
    }
    if (isOver(wholePod(spec, resource), whole))
      found.push({
        path: 'pod.spec',
        message: `its containers' ${resource} together is more than ${String(ofPod.shown)}`,
        rule: ofPod.rule,
      });
  }
  return found;
}
