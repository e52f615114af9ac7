// @ts-check
import fs from 'node:fs';
import { faults } from '../../test/faults/fault-table.mjs';
import { inRoot } from '../lib/root.mjs';
import { serverNames } from '../servers/index.mjs';
import { cellsOf, MATRIX_FILE, ownTests, proofsOf, readCells, render } from './fault-matrix.mjs';
import { test } from './test-run.mjs';

/** @typedef {import('../../test/faults/fault-table.mjs').Place} Place */

/** What `npm run test:faults -- …` does; resolves to the exit code. @param {string[]} args */
export async function testFaults(args) {
  const options = optionsOf(args);
  const places = /** @type {readonly Place[]} */ (['any', ...options.brokers]);
  const wanted = faults
    .filter(({ id }) => options.ids.length === 0 || options.ids.includes(id))
    .flatMap((fault) => fault.on.filter((place) => places.includes(place)).map((place) => ({ fault, place })));
  const own = ownTests();
  const proofs = wanted.flatMap(({ fault, place }) => proofsOf(fault, place, own));
  if (proofs.length === 0) throw new Error('No fault of the table is meant by that.');

  process.env['FAULTS'] = options.all ? 'all' : 'full';
  const files = [...new Set(proofs.map(({ run }) => run))];
  const names = [...new Set(proofs.map(({ name }) => name.source))];
  const projects = [...new Set(files.map((file) => (file.startsWith('src/') ? 'unit' : file.split('/')[1])))];
  const jest = ['--verbose', '--runTestsByPath', ...files, '--testNamePattern', names.join('|')];
  /** @type {import('./jest-run.mjs').TestOutcome[]} */
  let outcomes = [];
  const code = await test(['--no-static', '--only', projects.join(','), '--broker', options.brokers.join(','), ...jest], (ran) => {
    outcomes = ran;
  });

  const page = inRoot(...MATRIX_FILE.split('/'));
  const before = fs.existsSync(page) ? readCells(fs.readFileSync(page, 'utf8')) : new Map();
  const cells = cellsOf(wanted, outcomes);
  fs.writeFileSync(page, await render(new Map([...before, ...cells])));
  const failed = [...cells].filter(([, state]) => state === 'FAILED').map(([cell]) => cell);
  const passed = [...cells.values()].filter((state) => state === 'passed').length;
  process.stdout.write(
    `${MATRIX_FILE}: ${passed} of ${wanted.length} cells passed${failed.length > 0 ? `; FAILED: ${failed.join(', ')}` : ''}\n`,
  );
  return code;
}

/** @param {string[]} args */
function optionsOf(args) {
  const options = { ids: /** @type {string[]} */ ([]), brokers: [...serverNames], all: false };
  for (let i = 0; i < args.length; i++) {
    const [name = '', value = args[i + 1] ?? ''] = (args[i] ?? '').split('=');
    const list = value.split(',').map((word) => word.trim());
    if (name === '--all') options.all = true;
    else if (name === '--id')
      options.ids = known(
        'fault',
        list,
        faults.map(({ id }) => id),
      );
    else if (name === '--broker') options.brokers = known('broker', list, serverNames);
    else throw new Error(`"${name}" is not known; there are --id, --broker and --all`);
    if (name !== '--all' && !args[i]?.includes('=')) i++;
  }
  return options;
}

/** @template {string} T @param {string} what @param {string[]} list @param {readonly T[]} all */
function known(what, list, all) {
  return list.map((name) => {
    const found = all.find((one) => one === name);
    if (!found) throw new Error(`There is no ${what} "${name}"; there are ${all.join(', ')}.`);
    return found;
  });
}
