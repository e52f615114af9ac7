export { ApiPage, ApiProblems } from './api-answers.js';
export { createHttpAdapter } from './create-http-adapter.js';
export { Money } from './money.js';
export { OperatorInProduction, OperatorOnly } from './operator.js';
export { decodeCursor, encodeCursor, pageOf, PageQuery, type Page } from './page.js';
export { ProblemError, type FieldError, type ProblemOptions } from './problem-error.js';
export { setUpHttp } from './set-up-http.js';
export { UuidParam } from './uuid-param.js';
export { validationPipe } from './validation-pipe.js';
