import { stepOf } from './sandbox-script.js';

const outcomes = (token: string): string[] =>
  [1, 2, 3, 4].map((call) => {
    const { books, answer, afterMs } = stepOf(token, call);
    return [books ? 'charged' : 'not charged', answer, ...(afterMs > 0 ? [`after ${afterMs} ms`] : [])].join(', ');
  });
const always = (outcome: string): string[] => [outcome, outcome, outcome, outcome];

describe("the sandbox's tokens, call by call", () => {
  it.each([
    ['tok_ok', always('charged, captured')],
    ['tok_declined', always('not charged, declined')],
    ['tok_flaky', ['not charged, server error', 'not charged, server error', 'charged, captured', 'charged, captured']],
    ['tok_slow', always('charged, captured, after 3000 ms')],
    ['tok_timeout', always('not charged, silence')],
    ['tok_lost_response', ['charged, connection lost', 'charged, captured', 'charged, captured', 'charged, captured']],
    ['tok_broken', always('not charged, server error')],
  ])('%s, and with a suffix', (token, expected) => {
    expect(outcomes(token)).toEqual(expected);
    expect(outcomes(`${token}_`)).toEqual(expected);
    expect(outcomes(`${token}_a.b\nc`)).toEqual(expected);
  });

  it.each([
    '',
    'ok',
    'tok_',
    'tok_okay',
    'tok_ok2',
    'TOK_OK',
    ' tok_ok',
    'tok_lost',
    'tok_constructor',
    'tok___proto__',
    '4242424242424242',
  ])('declines %j, which it does not know', (token) => {
    expect(outcomes(token)).toEqual(always('not charged, declined'));
  });
});
