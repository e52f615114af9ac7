/** Exponential backoff with jitter: between half and all of `baseMs · 2^(failures-1)`, at most `maxMs`. */ export function backoffMs(
  failures,
  baseMs,
  maxMs,
  random = Math.random,
) {
  const full = Math.min(maxMs, baseMs * 2 ** Math.min(30, Math.max(0, failures - 1)));
  return Math.round(full * (0.5 + random() / 2));
}

//# sourceMappingURL=backoff.js.map
