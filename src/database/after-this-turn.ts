/**
 * A function that has the work done after everything of this turn of the event loop, once, however often it is called
 * meanwhile: what comes together is seen together.
 */
export function afterThisTurn(work: () => void): () => void {
  let scheduled = false;
  return () => {
    if (scheduled) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      work();
    });
  };
}
