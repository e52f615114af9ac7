import { ValidationPipe, type ArgumentMetadata } from '@nestjs/common';
import type { ValidationError } from 'class-validator';
import { invalidRequest, malformedBody, ProblemError, type FieldError } from './problem-error.js';
import { shownName } from './text-rules.js';

const MOST_ERRORS = 50;

/** Every body and query is an instance of its class and holds nothing that its class does not name. */
class RequestValidationPipe extends ValidationPipe {
  override async transform(value: unknown, metadata: ArgumentMetadata): Promise<unknown> {
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
    if (metadata.type === 'body' && value !== undefined && !isObject) throw malformedBody('The body must be a JSON object.');
    return super.transform(value, metadata);
  }
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
      found.push({ field: path.join('.') || 'body', message: rule === 'whitelistValidation' ? 'is not known here' : message });
    }
    for (const child of error.children ?? []) visit(child, path);
  };
  for (const error of errors) visit(error, []);
  return found.slice(0, MOST_ERRORS);
}
