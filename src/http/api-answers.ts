import { applyDecorators, type Type } from '@nestjs/common';
import { ApiExtraModels, ApiOkResponse, ApiProperty, ApiPropertyOptional, ApiResponse, getSchemaPath } from '@nestjs/swagger';
import { STATUS_CODES } from 'node:http';
import { PROBLEM_JSON } from './problem-document.js';

class FieldProblem {
  @ApiProperty({ example: 'items.0.quantity' }) field!: string;
  @ApiProperty() message!: string;
}

/** A problem document (RFC 9457), for OpenAPI. */
class Problem {
  @ApiProperty({ example: 'urn:waybill:problem:INVALID_REQUEST' }) type!: string;
  @ApiProperty() title!: string;
  @ApiProperty({ type: 'integer' }) status!: number;
  @ApiPropertyOptional() detail?: string;
  @ApiPropertyOptional({ type: [FieldProblem] }) errors?: FieldProblem[];
}

/** Documents 200 with a page of these. */
export function ApiPage(item: Type): MethodDecorator & ClassDecorator {
  const schema = {
    type: 'object',
    required: ['items', 'nextCursor'],
    properties: { items: { type: 'array', items: { $ref: getSchemaPath(item) } }, nextCursor: { type: 'string', nullable: true } },
  };
  return applyDecorators(ApiExtraModels(item), ApiOkResponse({ schema }));
}

/** Documents what is answered with a problem document. */
export function ApiProblems(...statuses: readonly number[]): MethodDecorator & ClassDecorator {
  const content = { [PROBLEM_JSON]: { schema: { $ref: getSchemaPath(Problem) } } };
  return applyDecorators(
    ApiExtraModels(Problem),
    ...statuses.map((status) => ApiResponse({ status, description: STATUS_CODES[status] ?? '', content })),
  );
}
