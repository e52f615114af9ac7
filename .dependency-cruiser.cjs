/**
 * Who may import whom (docs/architecture.md). `npm test` runs it, and test/architecture/dependency-rules.spec.ts
 * proves that each rule catches what it forbids. Imports of types count as imports.
 *
 * @type {import('dependency-cruiser').IConfiguration}
 */
module.exports = {
  forbidden: [
    {
      name: 'no-cycle',
      comment: 'Two files that need each other are one file, or want a third.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'module-imports-only-events-of-another',
      comment: 'Modules meet through events: of another module only its *.events.ts may be imported. See docs/adr/0002.',
      severity: 'error',
      from: { path: '^src/modules/([^/]+)/' },
      to: { path: '^src/modules/', pathNot: ['^src/modules/$1/', '^src/modules/[^/]+/[^/]+\\.events\\.ts$'] },
    },
    {
      name: 'module-sees-messaging-by-its-front-door',
      comment: 'Everything that a module needs of messaging is in src/messaging/index.ts.',
      severity: 'error',
      from: { path: '^src/modules/' },
      to: { path: '^src/messaging/', pathNot: '^src/messaging/index\\.ts$' },
    },
    {
      name: 'module-imports-nothing-else-of-src',
      comment: 'A module stands on messaging, database, http, config and observability.',
      severity: 'error',
      from: { path: '^src/modules/' },
      to: { path: '^src/', pathNot: '^src/(modules|messaging|database|http|config|observability)/' },
    },
    {
      name: 'messaging-knows-no-module',
      comment: 'Messaging carries events of any domain.',
      severity: 'error',
      from: { path: '^src/messaging/' },
      to: { path: '^src/(modules|ops|app\\.module|boot|main)' },
    },
    {
      name: 'outbox-knows-no-consumer',
      comment: 'Publishing and handling are two halves, which meet in the broker alone.',
      severity: 'error',
      from: { path: '^src/messaging/outbox/' },
      to: { path: '^src/messaging/consumer/' },
    },
    {
      name: 'consumer-knows-no-outbox',
      comment: 'Publishing and handling are two halves, which meet in the broker alone.',
      severity: 'error',
      from: { path: '^src/messaging/consumer/' },
      to: { path: '^src/messaging/outbox/' },
    },
    {
      name: 'adapter-knows-no-other-adapter',
      comment: 'A broker can be taken out by deleting its folder and its line in brokers.ts.',
      severity: 'error',
      from: { path: '^src/messaging/transport/([^/]+)/' },
      to: { path: '^src/messaging/transport/[^/]+/', pathNot: '^src/messaging/transport/$1/' },
    },
    {
      name: 'only-the-list-of-brokers-knows-adapters',
      comment: 'Whoever knew a broker by name would behave differently on it.',
      severity: 'error',
      from: { path: '^src/', pathNot: ['^src/messaging/transport/[^/]+/', '^src/messaging/transport/brokers\\.ts$'] },
      to: { path: '^src/messaging/transport/[^/]+/' },
    },
    ...Object.entries({
      kafka: '^kafkajs(/|$)|(^|/)node_modules/kafkajs/',
      rabbitmq: '^amqplib(/|$)|(^|/)node_modules/(@types/)?amqplib/',
      sqs: '^@(aws-sdk|smithy)/|(^|/)node_modules/@(aws-sdk|smithy)/',
    }).map(([broker, library]) => ({
      name: `client-library-of-${broker}`,
      comment: "A broker's client library is imported in the broker's own folder only.",
      severity: 'error',
      from: { path: '^src/', pathNot: `^src/messaging/transport/${broker}/` },
      to: { path: library },
    })),
    {
      name: 'no-unresolvable',
      comment: 'An import that leads nowhere escapes every other rule.',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true, pathNot: '^\\./?schema_engine_bg' },
    },
    {
      name: 'no-development-package',
      comment: 'What the application imports is in a production install too.',
      severity: 'error',
      from: { path: '^src/', pathNot: '\\.spec\\.ts$' },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg'], pathNot: '/node_modules/@types/' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^src/database/generated/' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default'] },
  },
};
