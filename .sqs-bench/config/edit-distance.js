/** Whether one inserted, dropped, replaced or swapped character makes one word of the other. */ export function isOneEditAway(
  word,
  other,
) {
  if (word === other || Math.abs(word.length - other.length) > 1) return false;
  let start = 0;
  while (start < word.length && word[start] === other[start]) start++;
  const rest = word.slice(start);
  const otherRest = other.slice(start);
  if (rest.length < otherRest.length) return rest === otherRest.slice(1);
  if (rest.length > otherRest.length) return rest.slice(1) === otherRest;
  const swapped = rest[0] === otherRest[1] && rest[1] === otherRest[0] && rest.slice(2) === otherRest.slice(2);
  return swapped || rest.slice(1) === otherRest.slice(1);
}
/** The candidate that takes the fewest edits (Levenshtein). */ export function closestOf(word, candidates) {
  const ranked = candidates
    .map((candidate) => ({
      candidate,
      edits: editsBetween(word, candidate),
    }))
    .sort((a, b) => a.edits - b.edits);
  return ranked[0]?.candidate ?? '';
}
function editsBetween(word, other) {
  let row = Array.from(
    {
      length: other.length + 1,
    },
    (_, column) => column,
  );
  for (const [index, character] of [...word].entries()) {
    const next = [index + 1];
    for (let column = 1; column <= other.length; column++) {
      const replaced = (row[column - 1] ?? 0) + (character === other[column - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[column] ?? 0) + 1, (next[column - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[other.length] ?? 0;
}

//# sourceMappingURL=edit-distance.js.map
