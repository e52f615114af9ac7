import { describe, expect, it } from '@jest/globals';
import { projectFiles, read } from './source-tree.js';

interface LockedPackage {
  readonly version?: string;
  readonly resolved?: string;
  readonly link?: boolean;
}

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
}

/** Home and work folders of one machine; a clone has others. */
const MACHINE_PATH = new RegExp(
  `(?<![\\w.:/-])/(${['root', 'home/\\w+', 'Users/\\w+', 'work', 'tmp/\\w+'].join('|')})/|\\b[A-Z]:\\\\\\\\?Users\\b`,
);

describe('the packages', () => {
  const manifest = JSON.parse(read('package.json')) as Manifest;
  const lock = JSON.parse(read('package-lock.json')) as { packages: Readonly<Record<string, LockedPackage>> };

  it('are locked without the address of a registry, so that whoever clones uses their own', () => {
    const packages = Object.entries(lock.packages);
    expect(packages.length).toBeGreaterThan(200);
    expect(packages.filter(([, { resolved, link }]) => resolved !== undefined || link).map(([name]) => name)).toEqual([]);
    expect(read('.npmrc')).toContain('omit-lockfile-registry-resolved=true');
    expect(read('.npmrc')).not.toMatch(/registry\s*=|_auth|\/\//);
  });

  it('come from a registry, not from a path or an address', () => {
    for (const [name, range] of Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })) {
      expect({ name, range }).toEqual({ name, range: expect.stringMatching(/^[\^~]?\d+(\.\d+){0,2}[\w.+-]*$/) });
    }
  });

  it('are locked as package.json says', () => {
    expect(lock.packages['']).toMatchObject({ dependencies: manifest.dependencies, devDependencies: manifest.devDependencies });
  });

  it('hold Prisma together: client, adapter and engine are of one version', () => {
    const { dependencies, devDependencies } = manifest;
    const version = devDependencies['prisma'] ?? '';
    expect(version).toMatch(/^\d/);
    expect([dependencies['@prisma/client'], dependencies['@prisma/adapter-pg'], dependencies['@prisma/driver-adapter-utils']]).toEqual([
      version,
      version,
      version,
    ]);
    expect(dependencies['@prisma/schema-engine-wasm']).toMatch(new RegExp(`^${version}-`));
  });

  it('and all other files name no folder of the machine they were made on', () => {
    const files = projectFiles().filter((file) => !/\.(png|ico|svg)$/.test(file));
    const found = files.flatMap((file) =>
      read(file)
        .split('\n')
        .flatMap((line, index) => (MACHINE_PATH.test(line) ? [`${file}:${index + 1} ${line.trim().slice(0, 100)}`] : [])),
    );
    expect(found).toEqual([]);
  });

  it('know a machine path when they see one', () => {
    expect(['open(', 'home', 'me', 'x)'].join('/')).toMatch(MACHINE_PATH);
    expect(['see ', 'work', 'main'].join('/')).toMatch(MACHINE_PATH);
    expect('GET /ops/root/home').not.toMatch(MACHINE_PATH);
  });
});
