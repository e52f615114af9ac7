/** Unit tests stand beside the source; everything that needs a server is under test/. */
const shared = {
  testEnvironment: 'node',
  extensionsToTreatAsEsm: ['.ts'],
  transform: { '^.+\\.ts$': '@swc/jest' },
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  setupFiles: ['reflect-metadata'],
  modulePathIgnorePatterns: ['<rootDir>/dist/', '<rootDir>/.waybill/'],
};

const project = (displayName, testMatch) => ({ ...shared, displayName, testMatch: testMatch.map((glob) => `<rootDir>/${glob}`) });

export default {
  testTimeout: 60_000,
  maxWorkers: 2,
  projects: [
    project('unit', ['src/**/*.spec.ts']),
    project('simulation', ['test/simulation/**/*.spec.ts']),
    project('architecture', ['test/architecture/**/*.spec.ts']),
    project('support', ['test/support/**/*.spec.ts']),
    project('conformance', ['test/conformance/**/*.spec.ts']),
    project('integration', ['test/integration/**/*.spec.ts']),
    // Each adapter against its servers' faults: longer than a change wants to wait; npm run test:adapters.
    project('adapters', ['test/adapters/**/*.spec.ts']),
    project('faults', ['test/faults/**/*.spec.ts']),
    project('e2e', ['test/e2e/**/*.spec.ts']),
    project('chaos', ['test/chaos/**/*.spec.ts']),
  ],
};
