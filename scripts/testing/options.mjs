// @ts-check
import { serverNames } from '../servers/index.mjs';

/** @typedef {import('../servers/index.mjs').ServerName} ServerName */

/**
 * @typedef {object} TestOptions
 * @property {string[]} only the Jest projects to run; all when empty
 * @property {ServerName[]} brokers the brokers to test on
 * @property {ServerName[]} required those whose absence is a failure
 * @property {boolean} staticChecks
 * @property {string[]} jest everything else, for Jest
 */

/** What `npm test -- …` and REQUIRE_BROKERS ask for. @param {string[]} args @param {NodeJS.ProcessEnv} env @returns {TestOptions} */
export function testOptions(args, env) {
  const own = { only: '', broker: '', static: true };
  const jest = [];
  for (let i = 0; i < args.length; i++) {
    const [, name, value] = /^--(only|broker)(?:=(.*))?$/.exec(args[i] ?? '') ?? [];
    if (name === 'only' || name === 'broker') own[name] = value ?? valueOf(`--${name}`, args[++i]);
    else if (args[i] === '--no-static') own.static = false;
    else jest.push(args[i] ?? '');
  }
  return {
    only: list(own.only),
    brokers: own.broker ? brokers('--broker', own.broker) : [...serverNames],
    required: brokers('REQUIRE_BROKERS', env['REQUIRE_BROKERS'] ?? ''),
    staticChecks: own.static,
    jest,
  };
}

/** @param {string} option @param {string | undefined} value */
function valueOf(option, value) {
  if (!value || value.startsWith('-'))
    throw new Error(`${option} wants a value: ${option} ${option === '--only' ? 'unit,conformance' : 'kafka'}`);
  return value;
}

/** @param {string} source @param {string} text */
function brokers(source, text) {
  return list(text).map((name) => {
    const known = serverNames.find((server) => server === name);
    if (!known) throw new Error(`${source} names "${name}"; there are ${serverNames.join(', ')}.`);
    return known;
  });
}

/** @param {string} text */
const list = (text) =>
  text
    .split(',')
    .map((word) => word.trim())
    .filter(Boolean);
