import { ValidationPipe, type ArgumentMetadata } from '@nestjs/common';
import { getMetadataStorage, type ValidationError } from 'class-validator';
import { invalidRequest, malformedBody, ProblemError, type FieldError } from './problem-error.js';
import { shownName } from './text-rules.js';

const MOST_ERRORS = 50;
const UNKNOWN = 'is not known here';
/** class-validator looks members up in a plain object, where `toString` and the like are always found. */
const INHERITED = new Set(Object.getOwnPropertyNames(Object.prototype));

/** A member whose class is checked too. */
interface NestedMember {
  readonly propertyName: string;
  readonly each: boolean;
}
const nestedMembersOf = new WeakMap<object, NestedMember[]>();

/** Every body and query is an instance of its class and holds nothing that its class does not name. */
class RequestValidationPipe extends ValidationPipe {
  override async transform(value: unknown, metadata: ArgumentMetadata): Promise<unknown> {
    const isObject = isPlain(value);
    if (metadata.type === 'body' && value !== undefined && !isObject) throw malformedBody('The body must be a JSON object.');
    if (isObject) refuse(inheritedNames(value, ''));
    const checked: unknown = await super.transform(value, metadata);
    if (isObject && isPlain(checked)) refuse(misshapen(checked, value, ''));
    return checked;
  }

  // What was JSON, or a query, has none of what Nest walks through the whole value for, at each request: see parseJson.
  protected override stripProtoKeys(): void {}
  protected override closeArrayGaps(): void {}
  protected override findNestedBinaryValues(): [] {
    return [];
  }
}

/** What class-validator lets pass: arrays where one object is meant, arrays among objects, and members with inherited names. */
function misshapen(instance: object, sent: object, path: string): FieldError[] {
  const { constructor: itsClass } = Object.getPrototypeOf(instance) as { constructor: new () => object };
  return nestedMembers(itsClass).flatMap(({ propertyName, each }) => {
    const [made, given] = [instance, sent].map((holder) => (holder as Record<string, unknown>)[propertyName]);
    const field = `${path}${propertyName}`;
    if (made === undefined || made === null) return [];
    if (!each) return shapeErrors(made, given, field);
    if (!Array.isArray(made) || !Array.isArray(given)) return [{ field, message: 'must be an array' }];
    return made.flatMap((entry: unknown, at) => shapeErrors(entry, given[at], `${field}.${at}`));
  });
}

/** The members of a class that are objects of their own, by its decorators; those do not change. */
function nestedMembers(itsClass: object): NestedMember[] {
  let members = nestedMembersOf.get(itsClass);
  if (!members) {
    members = getMetadataStorage()
      .getTargetValidationMetadatas(itsClass as new () => object, '', true, false)
      .filter(({ type }) => type === 'nestedValidation');
    nestedMembersOf.set(itsClass, members);
  }
  return members;
}

function shapeErrors(made: unknown, given: unknown, field: string): FieldError[] {
  if (!isPlain(made) || !isPlain(given)) return [{ field, message: 'must be an object' }];
  return [...inheritedNames(given, `${field}.`), ...misshapen(made, given, `${field}.`)];
}

function inheritedNames(value: object, path: string): FieldError[] {
  return Object.keys(value)
    .filter((name) => INHERITED.has(name))
    .map((name) => ({ field: `${path}${name}`, message: UNKNOWN }));
}

function isPlain(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function refuse(errors: readonly FieldError[]): void {
  if (errors.length > 0) throw invalidRequest(errors.slice(0, MOST_ERRORS));
}

/** The application's one pipe for what clients send. */
export function validationPipe(): ValidationPipe {
  return new RequestValidationPipe({
    transform: true,
    transformOptions: { enableImplicitConversion: false },
    whitelist: true,
    forbidNonWhitelisted: true,
    forbidUnknownValues: true,
    validationError: { target: false, value: false },
    exceptionFactory: (errors): ProblemError => invalidRequest(fieldErrors(errors)),
  });
}

function fieldErrors(errors: readonly ValidationError[]): FieldError[] {
  const found: FieldError[] = [];
  const visit = (error: ValidationError, parents: readonly string[]): void => {
    if (found.length >= MOST_ERRORS) return;
    const path = error.property === undefined ? parents : [...parents, shownName(error.property)];
    for (const [rule, message] of Object.entries(error.constraints ?? {})) {
      found.push({ field: path.join('.') || 'body', message: rule === 'whitelistValidation' ? UNKNOWN : message });
    }
    for (const child of error.children ?? []) visit(child, path);
  };
  for (const error of errors) visit(error, []);
  return found.slice(0, MOST_ERRORS);
}
