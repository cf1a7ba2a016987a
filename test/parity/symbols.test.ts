/** Each public name of Airflow's modules (`symbols.tsv`) has an exported counterpart with a docblock. */
import { expect, test } from 'vitest';
import { PARAM_FACTS } from '../support/param-facts.ts';
import { exportedNames } from './exported.ts';
import * as reentry from '../../src/index.ts';
import { ourName, ourNames, type AirflowSymbol, airflowSymbols } from './symbols.ts';

const exported = exportedNames();

/** Why a symbol has no counterpart; `undefined` when it has one. */
function lack(symbol: AirflowSymbol): string | undefined {
  const { owner, member } = ourNames(symbol);
  const found = exported.get(owner);
  if (found === undefined) return 'is not exported';
  if (member === undefined) return found.isDocumented ? undefined : 'has no docblock';
  // Parameters of the operator are fields of its schema; parameters.test.ts checks which field of the pod they set.
  if (symbol.kind === 'parameter' && member in PARAM_FACTS) return undefined;
  if (!found.members.has(member)) return `${owner} has no ${member}`;
  return undefined;
}

test('every public name of Airflow has its counterpart', () => {
  const lacking = airflowSymbols().flatMap((symbol) => {
    const why = lack(symbol);
    return why === undefined ? [] : [{ ...symbol, why }];
  });
  const modules = Map.groupBy(airflowSymbols(), ({ module }) => module);
  for (const [module, all] of [...modules].toSorted())
    console.log(
      `${module}: ${String(all.length)} names, ${String(lacking.filter((one) => one.module === module).length)} missing`,
    );
  expect(lacking).toEqual([]);
});

/** The values of the constants. */
test.each<[string, unknown, unknown]>([
  ['alphanum_lower', reentry.alphanumLower, 'abcdefghijklmnopqrstuvwxyz0123456789'],
  ['KUBE_CONFIG_ENV_VAR', reentry.KUBE_CONFIG_ENV_VAR, 'KUBECONFIG'],
  ['BASE_CONTAINER_NAME', reentry.KubernetesPodOperator.BASE_CONTAINER_NAME, 'base'],
  ['ISTIO_CONTAINER_NAME', reentry.KubernetesPodOperator.ISTIO_CONTAINER_NAME, 'istio-proxy'],
  ['KILL_ISTIO_PROXY_SUCCESS_MSG', reentry.KubernetesPodOperator.KILL_ISTIO_PROXY_SUCCESS_MSG, 'HTTP/1.1 200'],
  ['POD_CHECKED_KEY', reentry.KubernetesPodOperator.POD_CHECKED_KEY, 'already_checked'],
  ['POST_TERMINATION_TIMEOUT', reentry.KubernetesPodOperator.POST_TERMINATION_TIMEOUT, 120],
  ['PodEventType', reentry.PodEventType, { WARNING: 'Warning', NORMAL: 'Normal' }],
  [
    'PodPhase',
    { ...reentry.PodPhase, terminalStates: [...reentry.PodPhase.terminalStates].toSorted() },
    {
      PENDING: 'Pending',
      RUNNING: 'Running',
      FAILED: 'Failed',
      SUCCEEDED: 'Succeeded',
      terminalStates: ['Failed', 'Succeeded'],
    },
  ],
  [
    'OnFinishAction',
    reentry.OnFinishAction,
    {
      KEEP_POD: 'keep_pod',
      DELETE_POD: 'delete_pod',
      DELETE_SUCCEEDED_POD: 'delete_succeeded_pod',
      DELETE_ACTIVE_POD: 'delete_active_pod',
    },
  ],
  ['OnKillAction', reentry.OnKillAction, { DELETE_POD: 'delete_pod', KEEP_POD: 'keep_pod' }],
])('%s has the same value as in Airflow', (_, value, expected) => {
  expect(value).toEqual(expected);
});

test('the template fields are Airflow’s', () => {
  const theirs =
    'image name hostname cmds annotations arguments env_vars labels config_file pod_template_file pod_template_dict namespace container_resources volumes volume_mounts cluster_context env_from node_selector kubernetes_conn_id base_container_name trigger_kwargs configmaps';
  expect([...reentry.KubernetesPodOperator.templateFields].toSorted()).toEqual(
    theirs.split(' ').map(ourName).toSorted(),
  );
  expect(reentry.KubernetesPodOperator.templateFieldsRenderers).toEqual({ envVars: 'py' });
});
