// @ts-check
import fs from 'node:fs';
import path from 'node:path';
import { cacheDir } from '../lib/cache-dir.mjs';
import { installHint } from '../lib/install-hint.mjs';
import { withLock } from '../lib/lock.mjs';
import { findProgram, isExecutable, run } from '../lib/processes.mjs';

/**
 * @typedef {object} JavaServer A server that is a set of jars.
 * @property {string} id name and version, the key in the cache: "kafka-4.1.1"
 * @property {string} title for people: "Kafka 4.1.1"
 * @property {string} size of the jars, for people
 * @property {string[]} artifacts its Maven coordinates, "group:artifact:version"
 */

const OLDEST_JAVA = 17;
const ABANDONED_MS = 3_600_000;

/** Whether this machine has, or can fetch, what the server needs. @param {JavaServer} server */
export async function javaAvailability(server) {
  const cure = installHint({
    apt: 'default-jre-headless maven',
    dnf: 'java-21-openjdk-headless maven',
    brew: 'openjdk maven',
    choco: 'temurin maven',
  });
  const java = await findJava();
  if (!java) return { available: false, reason: `Java ${OLDEST_JAVA} or newer was not found (JAVA_HOME, PATH)`, cure };
  if (!fs.existsSync(libraryFolder(server)) && !findMaven())
    return { available: false, reason: 'Maven (mvn on PATH), which fetches the jars, was not found', cure };
  return { available: true, how: `${server.title}, jars through Maven, Java ${java.major}` };
}

/** The `java` to use and its major version; undefined where there is none that is new enough. */
export async function findJava() {
  const name = process.platform === 'win32' ? 'java.exe' : 'java';
  const home = process.env['JAVA_HOME'];
  const candidates = [home && path.join(home, 'bin', name), findProgram('java')];
  for (const file of candidates) {
    if (!file || !isExecutable(file)) continue;
    const major = await javaMajor(file);
    if (major >= OLDEST_JAVA) return { file, major };
  }
  return undefined;
}

/** @param {string} file */
async function javaMajor(file) {
  try {
    const { stderr } = await run(file, ['-version'], { timeoutMs: 20_000 });
    return Number(/version "(\d+)/.exec(stderr)?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/** Resolves to the class path of the server; its jars are fetched once and kept in the cache. @param {JavaServer} server @param {(text: string) => void} [onProgress] */
export async function classPath(server, onProgress) {
  const folder = libraryFolder(server);
  if (!fs.existsSync(folder)) {
    onProgress?.(`fetching ${server.title} through Maven (${server.size}, once)`);
    // One at a time: Maven's own store is not made for several that fill it.
    await withLock('maven', async () => {
      if (!fs.existsSync(folder)) await fetchJars(server, folder);
    });
  }
  return path.join(folder, 'libs', '*');
}

/** A folder with this name is complete: it is filled under another name first. @param {JavaServer} server */
const libraryFolder = (server) => path.join(cacheDir(), server.id);

/** @param {JavaServer} server @param {string} folder */
async function fetchJars(server, folder) {
  const maven = findMaven();
  if (!maven) throw new Error(`Maven, which fetches ${server.title}, is not on PATH.`);
  removeAbandoned(folder);
  const unfinished = fs.mkdtempSync(`${folder}.`);
  try {
    fs.writeFileSync(path.join(unfinished, 'pom.xml'), pom(server));
    await run(maven, ['-q', '-B', 'dependency:copy-dependencies', '-DoutputDirectory=libs', '-DincludeScope=runtime'], { cwd: unfinished });
    fs.renameSync(unfinished, folder);
  } catch (error) {
    throw new Error(`${server.title} could not be fetched through Maven: ${/** @type {Error} */ (error).message}`, { cause: error });
  } finally {
    fs.rmSync(unfinished, { recursive: true, force: true });
  }
}

/** What an interrupted fetch has left. @param {string} folder */
function removeAbandoned(folder) {
  for (const name of fs.readdirSync(path.dirname(folder))) {
    const file = path.join(path.dirname(folder), name);
    if (!file.startsWith(`${folder}.`)) continue;
    if (Date.now() - fs.statSync(file).mtimeMs > ABANDONED_MS) fs.rmSync(file, { recursive: true, force: true });
  }
}

const findMaven = () => findProgram('mvn');

/** @param {JavaServer} server */
const pom = ({ id, artifacts }) => `<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>waybill</groupId>
  <artifactId>${id}</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
${artifacts.map(dependency).join('\n')}
  </dependencies>
</project>
`;

/** @param {string} coordinates */
function dependency(coordinates) {
  const [groupId, artifactId, version] = coordinates.split(':');
  return `    <dependency><groupId>${groupId}</groupId><artifactId>${artifactId}</artifactId><version>${version}</version></dependency>`;
}
