import { ValidateIf } from 'class-validator';

/** The member may be left out. To say null is no way to do that. */
export function Omittable(): PropertyDecorator {
  return ValidateIf((_body, value) => value !== undefined);
}
