import { idOf, type Report } from './report.js';
import { digits } from './numbers.js';

/** What was committed: the ratios of a good run, and how much of one may be lost to the machine's moods. */
export interface CommittedRatios {
  readonly tolerance: number;
  readonly ratios: Readonly<Record<string, { readonly toBaseline?: number; readonly toLimit?: number }>>;
}

/** Says of each ratio that is worse than committed by more than the tolerance. */
export function compare(report: Report, { tolerance, ratios }: CommittedRatios): string[] {
  return report.rows.flatMap((row) => {
    const committed = ratios[idOf(row)];
    return (['toBaseline', 'toLimit'] as const).flatMap((name) => {
      const [was, is] = [committed?.[name], row[name]];
      if (was === undefined || is === undefined || is >= was * (1 - tolerance)) return [];
      return [`  ${idOf(row)}: ${name} ${digits(is)}, committed ${digits(was)}`];
    });
  });
}
