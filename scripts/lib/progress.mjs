// @ts-check

/**
 * @typedef {object} Progress
 * @property {(text: string) => void} update says what is happening now
 * @property {(text: string) => void} note prints a line that stays
 * @property {(text?: string) => void} done ends the line; the time it took is added
 * @property {(text?: string) => void} fail ends the line as a failure
 */

/**
 * Shows that something is going on: a line that counts seconds on a terminal, a line at the start and one at the end elsewhere.
 * @param {string} text
 * @returns {Progress}
 */
export function progress(text) {
  const out = process.stdout;
  const start = Date.now();
  const live = out.isTTY === true;
  let current = text;

  const clear = () => live && out.write('\r\u001b[K');
  const draw = () => live && out.write(`\r\u001b[K${clip(`${current}… ${seconds(Date.now() - start, 0)}`, out.columns)}`);
  const timer = live ? setInterval(draw, 1000) : undefined;
  timer?.unref();

  /** @param {string} line */
  const print = (line) => {
    clear();
    out.write(`${line}\n`);
  };
  /** @param {string} line */
  const end = (line) => {
    clearInterval(timer);
    print(line);
  };

  if (live) draw();
  else print(`${text}…`);

  return {
    update(next) {
      if (!live && next !== current) print(`${next}…`);
      current = next;
      draw();
    },
    note(line) {
      print(line);
      draw();
    },
    done: (final = text) => end(`${final} (${seconds(Date.now() - start)})`),
    fail: (final = `${text}: failed`) => end(`${final} (${seconds(Date.now() - start)})`),
  };
}

/** A duration as people read it: 850 ms is "0.9 s". @param {number} milliseconds @param {number} [digits] */
export const seconds = (milliseconds, digits = 1) => `${(milliseconds / 1000).toFixed(digits)} s`;

/** @param {string} line @param {number | undefined} width */
const clip = (line, width) => (width && line.length >= width ? `${line.slice(0, width - 2)}…` : line);
