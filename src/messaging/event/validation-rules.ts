import { getMetadataStorage } from 'class-validator';

type Storage = ReturnType<typeof getMetadataStorage>;
type Rules = ReturnType<Storage['getTargetValidationMetadatas']>;

/**
 * Makes class-validator remember the rules of a class. It puts them together anew for each object that it validates,
 * out of those of all classes that there are, so that every class of an application makes every validation slower.
 * Where a rule is added later, everything is put together once more.
 */
export function rememberRules(storage: Storage = getMetadataStorage()): void {
  const find = storage.getTargetValidationMetadatas.bind(storage);
  const add = storage.addValidationMetadata.bind(storage);
  /** By class; one set of options is asked for again and again. */
  let remembered = new Map<unknown, { readonly options: string; readonly rules: Rules }>();
  storage.addValidationMetadata = (rule) => {
    remembered = new Map();
    add(rule);
  };
  storage.getTargetValidationMetadatas = (target, schema, always, strictGroups, groups) => {
    const options = JSON.stringify([schema, always, strictGroups, groups]);
    const known = remembered.get(target);
    if (known?.options === options) return known.rules;
    const rules = find(target, schema, always, strictGroups, groups);
    remembered.set(target, { options, rules });
    return rules;
  };
}
