// @ts-check

/** Whether npm runs this script, through a shell. */
export const underNpm = process.env['npm_lifecycle_event'] !== undefined && process.platform !== 'win32';

/**
 * Ends as on SIGTERM when npm was told to end. WARNING: npm tells only its shell, which ends at once and passes nothing on; all that
 * this process can see is that its parent has gone.
 */
export function followNpm() {
  if (!underNpm) return;
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    process.kill(process.pid, 'SIGTERM');
  }, 100);
  timer.unref();
}
