/** The headers that a text column holds; undefined where it holds no JSON object of texts. */
export function headersIn(text: string): Record<string, string> | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return undefined; // which is this function's word for it
  }
  return isHeaders(parsed) ? parsed : undefined;
}

function isHeaders(parsed: unknown): parsed is Record<string, string> {
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return false;
  for (const name in parsed) if (typeof (parsed as Record<string, unknown>)[name] !== 'string') return false; // what JSON made inherits no member
  return true;
}
