/** The HTTP edge: what every module's controllers share. */
export { Money } from './money.js';
export { OperatorInProduction, OperatorOnly } from './operator.js';
export { decodeCursor, encodeCursor, PageQuery, pageOf, type Page } from './page.js';
export { ProblemError, type FieldProblem } from './problem-error.js';
export { UuidParam } from './uuid-param.js';
