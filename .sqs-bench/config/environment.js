import { existsSync } from 'node:fs';
import { loadEnvFile } from 'node:process';
/**
 * The process's variables, completed by the file `.env` in the working directory where there is one; what the
 * real environment sets wins over the file.
 */ export function environment() {
  if (existsSync('.env')) loadEnvFile('.env');
  return process.env;
}

//# sourceMappingURL=environment.js.map
