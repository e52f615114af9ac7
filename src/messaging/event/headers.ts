/** The headers that a text column holds; undefined where it holds no JSON object of texts. */
export function headersIn(text: string): Record<string, string> | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return undefined; // which is this function's word for it
  }
  const isHeaders =
    typeof parsed === 'object' &&
    parsed !== null &&
    !Array.isArray(parsed) &&
    Object.values(parsed).every((value) => typeof value === 'string');
  return isHeaders ? (parsed as Record<string, string>) : undefined;
}
