import { readFileSync } from 'node:fs';
import { closestOf, isOneEditAway } from './edit-distance.js';
const SHOWN_CHARACTERS = 60;
const SHORT_NAME = 4;
/** Reads variables one after the other and remembers every problem, so that all of them can be told at once. An empty value counts as unset. */ export class EnvironmentReader {
  env;
  problems = [];
  names = new Set();
  constructor(env) {
    this.env = env;
  }
  /** Every name that was asked for. */ get namesRead() {
    return [...this.names];
  }
  isSet(name) {
    return this.value(name) !== undefined;
  }
  text(name, { secret = false, matches, allowed = '' } = {}) {
    const value = this.value(name);
    if (value !== undefined && matches && !matches.test(value)) {
      this.refuse(name, `${secret ? 'is not valid (its value is not shown)' : `is ${shown(value)}`}; allowed: ${allowed}`);
      return undefined;
    }
    return value;
  }
  integer(name, fallback, { min, max }) {
    const value = this.value(name);
    if (value === undefined) return fallback;
    const number = /^-?\d{1,15}$/.test(value) ? Number(value) : NaN;
    if (number >= min && number <= max) return number;
    this.refuse(name, `is ${shown(value)}; allowed: a whole number from ${min} to ${max}`);
    return fallback;
  }
  flag(name, fallback) {
    return this.oneOf(name, ['true', 'false'], fallback ? 'true' : 'false') === 'true';
  }
  oneOf(name, allowed, fallback) {
    return this.optionOf(name, allowed) ?? fallback;
  }
  optionOf(name, allowed) {
    const value = this.value(name);
    if (value === undefined || allowed.includes(value)) return value;
    this.refuse(name, `is ${shown(value)}; allowed: ${allowed.join(', ')}${suggestion(value, allowed)}`);
    return undefined;
  }
  /** A comma-separated list, each entry once; undefined when unset or wrong. */ list(name, { matches, allowed }) {
    const value = this.value(name);
    if (value === undefined) return undefined;
    const entries = value.split(',').map((entry) => entry.trim());
    if (entries.every((entry) => matches.test(entry)) && new Set(entries).size === entries.length) return entries;
    this.refuse(name, `is ${shown(value)}; allowed: ${allowed}, separated by commas, each once`);
    return undefined;
  }
  /** A URL that may hold credentials: it is never shown. */ secretUrl(name, { protocols, allowed }) {
    const value = this.value(name);
    if (value === undefined || isUrl(value, protocols)) return value;
    this.refuse(name, `is not a URL of that kind (its value is not shown); allowed: ${allowed}`);
    return undefined;
  }
  url(name, { protocols, allowed }) {
    const value = this.value(name);
    if (value === undefined || isUrl(value, protocols)) return value;
    this.refuse(name, `is ${shown(value)}; allowed: ${allowed}`);
    return undefined;
  }
  /** The text of the PEM file that the variable names. */ certificate(name) {
    const file = this.value(name);
    if (file === undefined) return undefined;
    let text = '';
    try {
      text = readFileSync(file, 'utf8');
    } catch (error) {
      this.refuse(name, `is ${shown(file)}, which cannot be read (${error.code ?? 'unknown error'}); allowed: the path of a PEM file`);
      return undefined;
    }
    if (text.includes('-----BEGIN CERTIFICATE-----')) return text;
    this.refuse(name, `is ${shown(file)}, which holds no certificate; allowed: the path of a PEM file`);
    return undefined;
  }
  require(name, why) {
    // A value that is there and wrong has been told of already.
    if (!this.isSet(name)) this.refuse(name, `is missing; ${why}`);
  }
  refuse(name, what) {
    this.problems.push(`${name} ${what}`);
  }
  /**
   * Tells of variables that nobody reads and that look as if they were meant for us: one slip away from a name
   * that was read, or under one of the prefixes. To be called last.
   */ refuseStrangers(prefixes, isForeign) {
    for (const name of Object.keys(this.env).sort()) {
      if (this.names.has(name) || isForeign(name) || !this.env[name]) continue;
      const slip = this.namesRead.find((known) => known.length > SHORT_NAME && isOneEditAway(name, known));
      if (slip !== undefined) this.refuse(name, `is not a variable of this application; did you mean ${slip}?`);
      else if (prefixes.some((prefix) => name.startsWith(prefix))) {
        this.refuse(name, `is not a variable of this application; did you mean ${closestOf(name, this.namesRead)}?`);
      }
    }
  }
  value(name) {
    this.names.add(name);
    return this.env[name]?.trim() || undefined;
  }
}
/** As JSON, so that control characters are visible, shortened, and without what stands before an @. */ function shown(value) {
  const harmless = value.replace(/[^\s,/]*@/g, '…@');
  return JSON.stringify(harmless.length > SHOWN_CHARACTERS ? `${harmless.slice(0, SHOWN_CHARACTERS)}…` : harmless);
}
function suggestion(value, allowed) {
  const close = allowed.find((candidate) => candidate === value.toLowerCase() || isOneEditAway(value.toLowerCase(), candidate));
  return close === undefined ? '' : `; did you mean ${close}?`;
}
function isUrl(value, protocols) {
  return URL.canParse(value) && protocols.includes(new URL(value).protocol);
}

//# sourceMappingURL=environment-reader.js.map
