import { fault } from './fault.js';
import { killMidHandler } from './running-shop.js';

fault(
  'E1',
  'a worker that is killed while it handles leaves its messages to another one by their lease',
  { timeoutMs: 120_000 },
  killMidHandler,
);
