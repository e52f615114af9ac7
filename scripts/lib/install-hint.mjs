// @ts-check
import { findProgram } from './processes.mjs';

/**
 * The one line that installs something on this machine, by its package manager.
 * @param {{ apt: string, dnf: string, brew: string, choco: string }} packages
 */
export function installHint({ apt, dnf, brew, choco }) {
  if (process.platform === 'darwin') return `brew install ${brew}`;
  if (process.platform === 'win32') return `choco install -y ${choco}`;
  const sudo = process.getuid?.() === 0 ? '' : 'sudo ';
  if (findProgram('dnf') && !findProgram('apt-get')) return `${sudo}dnf install -y ${dnf}`;
  return `${sudo}apt-get update && ${sudo}apt-get install -y --no-install-recommends ${apt}`;
}
