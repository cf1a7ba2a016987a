import { afterAll, beforeAll } from 'vitest';
import type { Broker } from '../../src/ports/broker.ts';
import { type ClusterUnderTest, TARGETS } from './kubernetes.ts';
import { aBroker, type Installation, sharedNatsServer } from './nats-server.ts';

/** A local cluster with a namespace, and a broker, to run an operator without the engine. For the tests of one file. */
export function operatorFixture() {
  const [local] = TARGETS;
  const nats = sharedNatsServer();
  let kube: ClusterUnderTest;
  let broker: Broker;
  let installation: Installation;
  let namespace: string;
  beforeAll(async () => {
    if (local === undefined) throw new Error('there is always a local cluster');
    kube = await local.start();
    ({ broker, installation } = await aBroker(nats.url()));
    namespace = await kube.namespace();
  });
  afterAll(async () => {
    await installation[Symbol.asyncDispose]();
    await kube[Symbol.asyncDispose]();
  });
  return {
    get kube() {
      return kube;
    },
    get broker() {
      return broker;
    },
    get namespace() {
      return namespace;
    },
  };
}
