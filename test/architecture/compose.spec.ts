import { describe, expect, it } from '@jest/globals';
import { load } from 'js-yaml';
import { BROKERS } from '../../src/config/config.js';
import { configVariables, readConfig } from '../../src/config/read-config.js';
import { Metrics } from '../../src/observability/metrics.js';
import { projectFiles, read } from './source-tree.js';

interface Service {
  readonly image?: string;
  readonly build?: string;
  readonly profiles?: readonly string[];
  readonly environment?: Readonly<Record<string, string | number | boolean>>;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly healthcheck?: { readonly test: readonly string[] };
}

interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, unknown>>;
}

/** The members of a service that the Compose specification has, as far as they are used here. */
const KNOWN = new Set(
  'build depends_on environment healthcheck hostname image init ports profiles restart stop_grace_period volumes'.split(' '),
);

describe('docker-compose.yml', () => {
  const compose = load(read('docker-compose.yml')) as Compose;
  const services = Object.entries(compose.services);

  it('has the application, its database and every broker, and the tools by profile', () => {
    const byProfile = services.map(([name, { profiles = ['(always)'] }]) => `${profiles.join()}: ${name}`).sort();
    expect(byProfile).toEqual([
      '(always): app',
      '(always): kafka',
      '(always): postgres',
      '(always): rabbitmq',
      '(always): sqs',
      'kafka-ui: kafka-ui',
      'monitoring: grafana',
      'monitoring: prometheus',
    ]);
  });

  it.each(services)('describes %s well', (_name, service) => {
    expect(Object.keys(service).filter((member) => !KNOWN.has(member))).toEqual([]);
    expect(service.image).toMatch(/^[\w./-]+:(v?\d[\w.-]*|dev)$/); // of a version, not whatever is the latest
    if (service.build === undefined) expect(service.healthcheck?.test[0]).toMatch(/^CMD(-SHELL)?$/);
    for (const port of service.ports ?? []) expect(port).toMatch(/^127\.0\.0\.1:(\d+|\$\{\w+:-\d+\}):\d+$/);
    for (const [name, { condition }] of Object.entries(service.depends_on ?? {})) {
      expect(Object.keys(compose.services)).toContain(name);
      expect(condition).toBe('service_healthy');
    }
    for (const value of Object.values(service.environment ?? {})) expect(['string', 'number']).toContain(typeof value);
    for (const volume of service.volumes ?? []) {
      const [source = ''] = volume.split(':');
      if (source.startsWith('./')) expect(projectFiles()).toContain(source.slice(2));
      else expect(Object.keys(compose.volumes)).toContain(source);
    }
  });

  it('publishes no port twice', () => {
    const ports = services.flatMap(([, { ports: published = [] }]) => published.map((port) => port.split(':').slice(0, -1).join(':')));
    expect(new Set(ports).size).toBe(ports.length);
  });

  it.each(BROKERS)('configures the application for BROKER=%s', (broker) => {
    const environment = environmentOf(compose.services['app'] as Service, { BROKER: broker });
    const config = readConfig(environment, { terminal: false });
    expect(config.broker.name).toBe(broker);
    expect(config.database.url).toBeDefined();
    expect(config.http.host).toBe('0.0.0.0');
    const ours = Object.keys(environment).filter((name) => !name.startsWith('AWS_'));
    expect(ours.filter((name) => !configVariables().includes(name))).toEqual([]);
  });

  it('gives the application the credentials that the servers have', () => {
    const { app, postgres, rabbitmq } = compose.services as Record<string, Service>;
    const { DATABASE_URL, RABBITMQ_URL } = environmentOf(app as Service, {});
    expect(credentialsOf(DATABASE_URL)).toEqual([postgres?.environment?.['POSTGRES_USER'], postgres?.environment?.['POSTGRES_PASSWORD']]);
    expect(credentialsOf(RABBITMQ_URL)).toEqual([
      rabbitmq?.environment?.['RABBITMQ_DEFAULT_USER'],
      rabbitmq?.environment?.['RABBITMQ_DEFAULT_PASS'],
    ]);
  });
});

describe('Dockerfile', () => {
  const stages = read('Dockerfile')
    .split(/^FROM /m)
    .slice(1);
  const last = stages.at(-1) ?? '';

  it('runs Node itself, as nobody special, with a health check, and has what the boot needs', () => {
    expect(stages.map((stage) => stage.split(/\s/)[0])).toEqual(['node:24-slim', 'node:24-slim', 'node:24-slim']);
    expect(last).toMatch(/^USER node$/m);
    expect(last).toMatch(/^HEALTHCHECK .*\n.*\/health\/live/m);
    expect(last).toMatch(/^CMD \["node", .*"dist\/main\.js"\]$/m);
    expect(last).toMatch(/^COPY prisma /m);
    expect(last).not.toMatch(/COPY \. |npm ci/);
  });

  it('is given what exists, by .dockerignore', () => {
    const admitted = [...read('.dockerignore').matchAll(/^!(.+)$/gm)].map(([, name = '']) => name);
    expect(admitted.length).toBeGreaterThan(5);
    for (const name of admitted) expect(projectFiles().some((file) => file === name || file.startsWith(`${name}/`))).toBe(true);
  });
});

describe('what the monitoring shows', () => {
  const known = new Metrics().registry.getMetricsAsArray().map(({ name }) => name);
  const files = projectFiles().filter((file) => file.startsWith('docker/'));

  it('parses', () => {
    expect(files.length).toBeGreaterThan(3);
    for (const file of files) expect(file.endsWith('.json') ? JSON.parse(read(file)) : load(read(file))).toBeInstanceOf(Object);
  });

  it('is measured: every metric that a panel or an alert names exists', () => {
    const named = files.flatMap((file) =>
      [...read(file).matchAll(/waybill_\w+/g)].map(([name]) => name.replace(/_(bucket|count|sum)$/, '')),
    );
    expect(named.length).toBeGreaterThan(10);
    expect([...new Set(named)].filter((name) => !known.includes(name))).toEqual([]);
  });
});

/** As Compose would hand it over: text, with `${NAME:-default}` filled in. */
function environmentOf({ environment = {} }: Service, given: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(environment).map(([name, value]) => [
      name,
      String(value).replaceAll(/\$\{(\w+):-([^}]*)\}/g, (_text, variable: string, preset: string) => given[variable] ?? preset),
    ]),
  );
}

function credentialsOf(url: string | undefined): [string, string] {
  const { username, password } = new URL(url ?? '');
  return [username, password];
}
