// @ts-check
import fs from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { BROKERS, faults } from '../../test/faults/fault-table.mjs';
import { inRoot } from '../lib/root.mjs';

/**
 * @typedef {import('../../test/faults/fault-table.mjs').Fault} Fault
 * @typedef {import('../../test/faults/fault-table.mjs').Place} Place
 * @typedef {import('./jest-run.mjs').TestOutcome} TestOutcome
 *
 * @typedef {object} OwnTest A test of test/faults, as it is written there.
 * @property {string} id
 * @property {string} title
 * @property {string} file
 * @property {readonly Place[]} on
 * @property {boolean} long whether only `npm run test:faults:all` runs it
 *
 * @typedef {Map<string, string>} Cells `P1 kafka` → passed, FAILED or not run
 */

/** The page that a run writes. */
export const MATRIX_FILE = 'docs/fault-matrix.md';

const FOLDER = 'test/faults';
const NOT_RUN = 'not run';
/** @type {readonly Place[]} */
const PLACES = ['any', ...BROKERS];

/** Every call of `fault` in test/faults, read from the source. @returns {OwnTest[]} */
export function ownTests() {
  const files = fs.readdirSync(inRoot(FOLDER)).filter((file) => file.endsWith('.spec.ts'));
  return files.flatMap((name) => {
    const file = `${FOLDER}/${name}`;
    return callsOf(file, 'fault').map((call) => {
      const [id = '', title = ''] = call.arguments.slice(0, 2).map((text) => (ts.isStringLiteralLike(text) ? text.text : ''));
      const options = call.arguments[2]?.getText() ?? '';
      const entry = faults.find((fault) => fault.id === id);
      if (!entry || title === '') throw new Error(`${file}: fault(${id}, …) must have an id of the table and a title, both as plain text`);
      const named = /on: \[([^\]]*)\]/.exec(options)?.[1];
      if (named === undefined && /\bon\b/.test(options)) throw new Error(`${file}: fault(${id}, …) must name its places as plain text`);
      const on = named === undefined ? entry.on : PLACES.filter((place) => named.includes(`'${place}'`));
      return { id, title, file, on, long: options.includes('long: true') };
    });
  });
}

/** The names of a file's tests, as they are written. @param {string} file */
export function namesOfTests(file) {
  return callsOf(file, 'it').flatMap(({ arguments: [name] }) => (name && ts.isStringLiteralLike(name) ? [name.text] : []));
}

/** @param {string} file @param {string} name */
function callsOf(file, name) {
  /** @type {ts.CallExpression[]} */
  const calls = [];
  const isCalled = new RegExp(`^${name}\\b`);
  /** @param {ts.Node} node */
  const visit = (node) => {
    if (ts.isCallExpression(node) && isCalled.test(node.expression.getText())) calls.push(node);
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(file, fs.readFileSync(inRoot(...file.split('/')), 'utf8'), ts.ScriptTarget.Latest, true));
  return calls;
}

/**
 * What proves a fault in one place: for each proof the file that Jest runs and what the full name of its tests ends with.
 * @param {Fault} fault @param {Place} place @param {readonly OwnTest[]} own @returns {{ run: string, name: RegExp, long: boolean }[]}
 */
export function proofsOf(fault, place, own) {
  return [
    ...own
      .filter(({ id, on }) => id === fault.id && on.includes(place))
      .map(({ id, title, file, long }) => ({ run: file, name: nameOf(`${id} on ${place}: ${title}`), long })),
    ...(fault.proofs ?? [])
      .filter(({ on }) => on.includes(place))
      .map(({ run, test }) => ({ run: run.replace('{place}', place), name: nameOf(test), long: false })),
  ];
}

/** @param {string} title with the placeholders of `it.each` */
const nameOf = (title) => new RegExp(`(^| )${title.replaceAll(/[.*+?^${}()|[\]\\/]/g, '\\$&').replaceAll(/%[sji]/g, '.*')}$`);

/**
 * The cells that this run has decided: passed only where every proof has run, in all its cases, and passed. A long test counts where
 * it has run, or where there is no other.
 * @param {readonly { fault: Fault, place: Place }[]} wanted @param {readonly TestOutcome[]} outcomes @returns {Cells}
 */
export function cellsOf(wanted, outcomes) {
  const own = ownTests();
  return new Map(
    wanted.flatMap(({ fault, place }) => {
      const proofs = proofsOf(fault, place, own).map(({ run, name, long }) => {
        const statuses = outcomes.filter((outcome) => outcome.file === run && name.test(outcome.name)).map(({ status }) => status);
        return { long, statuses: statuses.length > 0 ? statuses : ['pending'] };
      });
      const ran = (/** @type {{ statuses: string[] }} */ { statuses }) => statuses.some((status) => status !== 'pending');
      const needed = proofs.some(({ long }) => !long) ? proofs.filter((proof) => !proof.long || ran(proof)) : proofs;
      if (!needed.some(ran)) return [];
      const all = needed.flatMap(({ statuses }) => statuses);
      const state = all.includes('failed') ? 'FAILED' : all.every((status) => status === 'passed') ? 'passed' : NOT_RUN;
      return [/** @type {[string, string]} */ ([`${fault.id} ${place}`, state])];
    }),
  );
}

/** The cells of the page as it is. @param {string} page @returns {Cells} */
export function readCells(page) {
  /** @type {Cells} */
  const cells = new Map();
  for (const line of page.split('\n')) {
    const [, id = '', , ...states] = line.split('|').map((cell) => cell.trim());
    if (!faults.some((fault) => fault.id === id)) continue;
    PLACES.forEach((place, at) => cells.set(`${id} ${place}`, states[at] ?? NOT_RUN));
  }
  return cells;
}

/** The page. @param {Cells} cells @returns {Promise<string>} */
export async function render(cells) {
  const prettier = await import('prettier');
  const options = await prettier.resolveConfig(inRoot('package.json'));
  return prettier.format(text(cells), { ...options, parser: 'markdown' });
}

/** @param {Cells} cells */
function text(cells) {
  const own = ownTests();
  const rows = faults.map((fault) => {
    const states = PLACES.map((place) =>
      fault.on.includes(place) ? (cells.get(`${fault.id} ${place}`) ?? NOT_RUN) : elsewhere(fault, place),
    );
    return `| ${[fault.id, fault.what, ...states].join(' | ')} |`;
  });
  return `# Which faults are survived, and where that is proved

Written by \`npm run test:faults\`, which runs the tests named below against real servers; \`-- --id K2 --broker kafka\` runs one and changes its cell alone, and \`npm run test:faults:all\` adds those that are too long for CI. \`npm test\` runs the quick ones. A cell says "passed" when each test of it has run and passed.

"any" is for faults that do not touch the broker: they are proved once. A dash there means that the broker matters; a dash under a broker, that it does not.

| id | fault | any | ${BROKERS.join(' | ')} |
| --- | --- | --- | ${BROKERS.map(() => '---').join(' | ')} |
${rows.join('\n')}

## What is not applicable, and why

${faults.flatMap(notApplicable).join('\n')}

## What proves it

${faults
  .filter(({ on }) => on.length > 0)
  .map((fault) => proofText(fault, own))
  .join('\n')}
`;
}

/** @param {Fault} fault @param {Place} place */
function elsewhere(fault, place) {
  if (place === 'any' || fault.on.every((on) => on === 'any')) return fault.on.length > 0 ? '–' : 'n/a';
  return 'n/a';
}

/** @param {Fault} fault */
function notApplicable(fault) {
  const missing = BROKERS.filter((broker) => !fault.on.includes(broker));
  if (missing.length === 0 || (fault.on.length > 0 && fault.on.every((on) => on === 'any'))) return [];
  return [`- ${fault.id} on ${fault.on.length === 0 ? 'every broker' : missing.join(', ')}: ${fault.elsewhere ?? ''}.`];
}

/** @param {Fault} fault @param {readonly OwnTest[]} own */
function proofText(fault, own) {
  const tests = [
    ...own.filter(({ id }) => id === fault.id).map(({ title, file, long }) => [file, `${title}${long ? ' (long)' : ''}`]),
    ...(fault.proofs ?? []).map(({ file, test }) => [file, test]),
  ];
  const lines = tests.map(([file = '', test]) => `  - [${path.posix.basename(file)}](../${file}) "${test}"`);
  return `- **${fault.id}**, ${fault.what}.${fault.note ? ` ${fault.note}` : ''}\n${lines.join('\n')}`;
}
