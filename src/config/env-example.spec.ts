import { describe, expect, it } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { BROKERS, type BrokerName, type Config } from './config.js';
import { configVariables, readConfig } from './read-config.js';

const text = readFileSync(new URL('../../.env.example', import.meta.url), 'utf8');
const lines = [...text.matchAll(/^(# )?([A-Z][A-Z0-9_]+)=(.*)$/gm)].map(([, unset, name, value]) => ({
  name: name ?? '',
  value: value ?? '',
  isUnset: unset !== undefined,
}));

const needed: Record<BrokerName, Record<string, string>> = {
  postgres: {},
  kafka: { KAFKA_BROKERS: 'localhost:9092' },
  rabbitmq: { RABBITMQ_URL: 'amqp://localhost' },
  sqs: { AWS_REGION: 'us-east-1' },
};

const comparable = ({ instance, roles, ...config }: Config): object => ({ ...config, roles: [...roles], instance: typeof instance });

describe('.env.example', () => {
  it('has every variable that is read, once, and no other', () => {
    expect(lines.map(({ name }) => name).sort()).toEqual([...configVariables()].sort());
  });

  it('explains every variable in the comment above its block', () => {
    const blocks = text.split(/\n\n+/).filter((block) => /^(# )?[A-Z][A-Z0-9_]+=/m.test(block));
    for (const block of blocks) expect(block).toMatch(/^# .*[a-z]{3,}/);
  });

  it.each(BROKERS)('parses with BROKER=%s, and shows the defaults', (broker) => {
    const given = { BROKER: broker, ...needed[broker] };
    expect(comparable(readConfig({ ...parseEnv(text), ...given }, { terminal: false }))).toEqual(
      comparable(readConfig(given, { terminal: false })),
    );
  });

  it('shows the default of what is commented out with a value', () => {
    const shown = lines.filter(({ isUnset, value }) => isUnset && value !== '').map(({ name, value }) => [name, value] as const);
    expect(shown.length).toBeGreaterThan(0);
    expect(comparable(readConfig(Object.fromEntries(shown), { terminal: false }))).toEqual(comparable(readConfig({}, { terminal: false })));
  });

  it('holds no secret', () => {
    for (const { name, value } of lines) {
      if (/TOKEN|PASSWORD|URL$/.test(name)) expect({ name, value }).toEqual({ name, value: '' });
    }
  });
});
