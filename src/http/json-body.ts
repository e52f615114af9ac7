import { invalidRequest, malformedBody } from './problem-error.js';
import { flawOf, NAMES_OF_PROTOTYPES, shownName } from './text-rules.js';

const DEEPEST = 32;
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

interface Level {
  /** undefined in an array. */
  readonly names: Set<string> | undefined;
  /** The member or element that is being read. */
  name: string;
  index: number;
}

/**
 * The JSON value that the bytes are, when it reads the same everywhere: UTF-8, no member name twice, nothing that
 * reaches for a prototype, no deeper than 32 levels, no text that PostgreSQL refuses.
 * @throws ProblemError 400, naming the member; never quoting a value
 */
export function parseJson(bytes: Uint8Array): unknown {
  const text = decode(bytes);
  checkDepth(text);
  const value = parse(text);
  checkMembers(text);
  return value;
}

function decode(bytes: Uint8Array): string {
  try {
    return UTF8.decode(bytes);
  } catch {
    throw malformedBody('The body is not valid UTF-8.');
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Without its cause, because the parser's message quotes the body.
    throw malformedBody('The body is not valid JSON.');
  }
}

/** Before it is parsed: brackets outside of strings count, whether or not the rest is JSON. */
function checkDepth(text: string): void {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === '"') at = endOfString(text, at);
    else if (character === '{' || character === '[') depth++;
    else if (character === '}' || character === ']') depth--;
    if (depth > DEEPEST) throw malformedBody(`The body is nested deeper than ${DEEPEST} levels.`);
  }
}

/** Walks through text that is known to be JSON, with the path of where it is. */
function checkMembers(text: string): void {
  const levels: Level[] = [];
  let nameIsNext = false;
  for (let at = 0; at < text.length; at++) {
    const level = levels.at(-1);
    switch (text[at]) {
      case '{':
        levels.push({ names: new Set(), name: '', index: 0 });
        nameIsNext = true;
        break;
      case '[':
        levels.push({ names: undefined, name: '', index: 0 });
        nameIsNext = false;
        break;
      case '}':
      case ']':
        levels.pop();
        nameIsNext = false;
        break;
      case ',':
        if (level) level.index++;
        nameIsNext = level?.names !== undefined;
        break;
      case '"': {
        const end = endOfString(text, at);
        const string = unquote(text, at, end);
        at = end;
        if (nameIsNext && level?.names) {
          checkName(string, level, level.names, levels);
          nameIsNext = false;
        } else {
          const flaw = flawOf(string);
          if (flaw !== undefined) throw invalidRequest([{ field: pathOf(levels), message: flaw }]);
        }
      }
    }
  }
}

function checkName(name: string, level: Level, names: Set<string>, levels: readonly Level[]): void {
  level.name = name;
  const refuse = (message: string): never => {
    throw invalidRequest([{ field: pathOf(levels), message }]);
  };
  const flaw = flawOf(name);
  if (flaw !== undefined) refuse(`the member's name ${flaw}`);
  if (names.has(name)) refuse('must be given once');
  if (NAMES_OF_PROTOTYPES.has(name)) refuse('is not a name that a member may have');
  names.add(name);
}

function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x5c) at++;
    else if (code === 0x22) return at;
  }
  return text.length;
}

function unquote(text: string, start: number, end: number): string {
  const inside = text.slice(start + 1, end);
  return inside.includes('\\') ? (JSON.parse(`"${inside}"`) as string) : inside;
}

function pathOf(levels: readonly Level[]): string {
  return levels.map(({ names, name, index }) => (names ? shownName(name) : String(index))).join('.') || 'body';
}
