import { describe, expect, it, jest } from '@jest/globals';
import { getMetadataStorage, IsInt, IsString, Length, Min, registerDecorator, validateSync } from 'class-validator';
import { rememberRules } from './validation-rules.js';

class Named {
  @IsString() name: unknown = 'x';
}
class Counted extends Named {
  @IsInt({ groups: ['strict'] }) @Min(1) count: unknown = 1;
}

const storage = getMetadataStorage();
const find = jest.spyOn(storage, 'getTargetValidationMetadatas');
rememberRules(storage);

function errorsOf(value: object, groups?: string[]): string[] {
  return validateSync(value, groups ? { groups } : {}).flatMap(({ constraints }) => Object.keys(constraints ?? {}));
}

describe('the rules that are remembered', () => {
  it('are put together once for a class, and are those of the class and of what it extends', () => {
    find.mockClear();
    for (let times = 0; times < 3; times++) {
      expect(errorsOf(Object.assign(new Counted(), { name: 7, count: 0 }))).toEqual(expect.arrayContaining(['min', 'isString']));
      expect(errorsOf(new Counted())).toEqual([]);
    }
    expect(find).toHaveBeenCalledTimes(1);
  });

  it('are others where groups are asked for', () => {
    const value = Object.assign(new Counted(), { name: 7, count: 1.5 });
    expect(errorsOf(value)).toEqual(expect.arrayContaining(['isInt', 'isString']));
    expect(errorsOf(value, ['strict'])).toEqual(['isInt']);
    expect(errorsOf(value)).toEqual(expect.arrayContaining(['isInt', 'isString']));
  });

  it('are put together anew once there are more', () => {
    const value = Object.assign(new Named(), { name: 'long' });
    expect(errorsOf(value)).toEqual([]);
    Length(1, 2)(Named.prototype, 'name');
    expect(errorsOf(value)).toEqual(['isLength']);
    registerDecorator({ name: 'isNeverRight', target: Named, propertyName: 'name', validator: { validate: () => false } });
    expect(errorsOf(value)).toEqual(expect.arrayContaining(['isNeverRight', 'isLength']));
  });
});
