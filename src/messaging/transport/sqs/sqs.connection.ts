import { SQS } from '@aws-sdk/client-sqs';
import { BrokerUnavailableError } from '../broker-adapter.js';
import type { SqsSettings } from './sqs.settings.js';

const CONNECT_TIMEOUT_MS = 3_000;
/** Enough for a long poll and a slow answer. */
const SOCKET_TIMEOUT_MS = 20_000;
const MAX_SOCKETS = 256;

/**
 * The ways to SQS, each with sockets of its own: a publisher must not queue behind long polls, and a heartbeat
 * must not queue behind either.
 */
export class SqsConnection {
  readonly publishing: SQS;
  /** Tried once: whoever polls goes on polling. */
  readonly receiving: SQS;
  /** Deletes, heartbeats, and questions about queues. */
  readonly settling: SQS;
  private closed = false;

  constructor(settings: SqsSettings) {
    this.publishing = client(settings, 2);
    this.receiving = client(settings, 1);
    this.settling = client(settings, 2);
  }

  get isClosed(): boolean {
    return this.closed;
  }

  /** Ends every connection at once. */
  close(): void {
    this.closed = true;
    for (const sqs of [this.publishing, this.receiving, this.settling]) sqs.destroy();
  }
}

/** One request; settles in time whatever the network, the client's retries or the source of its credentials do. */
export async function request<T>(
  timeoutMs: number,
  send: (options: { abortSignal: AbortSignal }) => Promise<T>,
  cancellation = new AbortController(),
): Promise<T> {
  const { signal } = cancellation;
  const timer = setTimeout(() => cancellation.abort(new BrokerUnavailableError(`SQS did not answer within ${timeoutMs} ms`)), timeoutMs);
  const cancelled = new Promise<never>((_, reject) =>
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true }),
  );
  try {
    return await Promise.race([send({ abortSignal: signal }), cancelled]);
  } finally {
    clearTimeout(timer);
  }
}

/** An outage as the port reports it, with the cure where the cause tells one. */
export function unavailable(what: string, error: unknown): BrokerUnavailableError {
  const cause = error as Error & { code?: unknown };
  const said =
    cause.message.replace(/^AWS SDK error wrapper for (Error: )?/, '') || (typeof cause.code === 'string' ? cause.code : cause.name);
  return new BrokerUnavailableError(`${what}: ${said}${cureOf(error)}`, { cause });
}

/** The error's name as AWS writes it; some servers add the old protocol's prefix. */
export function nameOf(error: unknown): string {
  const { name } = error as { name?: unknown };
  return typeof name === 'string' ? name.replace(/^AWS\.SimpleQueueService\./, '').replace(/^NonExistentQueue$/, 'QueueDoesNotExist') : '';
}

export function isMissingQueue(error: unknown): boolean {
  return nameOf(error) === 'QueueDoesNotExist';
}

function cureOf(error: unknown): string {
  const name = nameOf(error);
  if (name === 'CredentialsProviderError')
    return '; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (an emulator takes any value), or give the process an AWS profile or role';
  if (/^(InvalidClientTokenId|UnrecognizedClientException|SignatureDoesNotMatch|ExpiredToken.*)$/.test(name))
    return '; check the AWS credentials that this process has';
  if (/^AccessDenied/.test(name)) return '; give the identity of this process the right to do that in IAM';
  return '';
}

function client({ sqs }: SqsSettings, maxAttempts: number): SQS {
  const agent = { maxSockets: MAX_SOCKETS, keepAlive: true };
  return new SQS({
    region: sqs.region,
    // Else the SDK would look for an AWS machine's role, which takes long and finds nothing.
    ...(sqs.anyCredentials && { credentials: { accessKeyId: 'any', secretAccessKey: 'any' } }),
    maxAttempts,
    // A server of one's own may name itself in its queue URLs as nobody else can reach it.
    ...(sqs.endpoint !== undefined && { endpoint: sqs.endpoint, useQueueUrlAsEndpoint: false }),
    requestHandler: {
      connectionTimeout: CONNECT_TIMEOUT_MS,
      socketTimeout: SOCKET_TIMEOUT_MS,
      requestTimeout: SOCKET_TIMEOUT_MS,
      throwOnRequestTimeout: true,
      httpAgent: agent,
      httpsAgent: agent,
    },
  });
}
