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
  /** By class; what was asked for last, which is asked for again and again. */
  let remembered = new Map<unknown, { readonly asked: readonly unknown[]; readonly rules: Rules }>();
  storage.addValidationMetadata = (rule) => {
    remembered = new Map();
    add(rule);
  };
  storage.getTargetValidationMetadatas = (target, ...asked) => {
    const known = remembered.get(target);
    if (known?.asked.length === asked.length && known.asked.every((value, index) => value === asked[index])) return known.rules;
    const rules = find(target, ...asked);
    remembered.set(target, { asked, rules });
    return rules;
  };
}
