import type { DestinationStream } from 'pino';

const OWN = new Set(['level', 'time', 'msg', 'instance', 'err']);
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g;

/** Log lines for people: time, level, message, then the fields. One event stays one line, whatever is in it; only a stack takes more. */
export function prettyStream(out: DestinationStream): DestinationStream {
  return {
    write(line: string): void {
      const entry = JSON.parse(line) as Record<string, unknown>;
      const fields = Object.entries(entry)
        .filter(([name]) => !OWN.has(name))
        .map(([name, value]) => `${name}=${clean(typeof value === 'string' ? value : JSON.stringify(value))}`);
      const error = entry['err'] as { stack?: string; message?: string } | undefined;
      const level = String(entry['level']);
      const head = `${String(entry['time']).slice(11, 23)} ${level.toUpperCase().padEnd(5)} ${clean(String(entry['msg'] ?? ''))}`;
      const stack = error && (level === 'error' || level === 'fatal') ? `\n${(error.stack ?? '').split('\n').map(clean).join('\n')}` : '';
      const reason = error && stack === '' ? ` (${clean(error.message ?? '')})` : '';
      out.write(`${head}${reason}${fields.length > 0 ? `  ${fields.join(' ')}` : ''}${stack}\n`);
    },
  };
}

function clean(text: string): string {
  return text.replace(CONTROL, ' ');
}
