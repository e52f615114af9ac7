import { BROKERS, type BrokerName } from '../../src/config/config.js';
import { useOrStart, type Server } from '../../scripts/servers/index.mjs';

/** The brokers that this run has servers for; `npm test` says which and why not. */
export function brokersUnderTest(): BrokerName[] {
  const named = process.env['TEST_BROKERS'];
  return named === undefined ? ['postgres'] : BROKERS.filter((broker) => named.split(',').includes(broker));
}

const servers = new Map<string, Promise<Server>>();

/** The run's server of a kind: the environment's, or one started for this test file alone. */
export function serverOf(name: BrokerName): Promise<Server> {
  let server = servers.get(name);
  if (!server) {
    server = useOrStart(name);
    servers.set(name, server);
  }
  return server;
}

/** Ends the servers that `serverOf` has started. */
export async function stopServers(): Promise<void> {
  for (const server of servers.values()) await (await server).dispose();
  servers.clear();
}
