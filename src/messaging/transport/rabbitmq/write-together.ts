import type { Writable } from 'node:stream';

/**
 * Has what is written to the stream within a turn of the event loop go out at the end of it, in one system call.
 * amqplib writes each message by itself, and each wakes the broker to read a packet of its own. The stream still says
 * when it is full.
 */
export function writeTogether(stream: Writable): void {
  const write = stream.write.bind(stream) as (...given: unknown[]) => boolean;
  let corked = false;
  stream.write = (...given: unknown[]): boolean => {
    if (!corked) {
      corked = true;
      stream.cork();
      process.nextTick(() => {
        corked = false;
        stream.uncork();
      });
    }
    return write(...given);
  };
}
