import type { Money } from '../../http/money.js';

/** Injection token of the payment gateway in force (PAYMENT_GATEWAY). */
export const PAYMENT_GATEWAY = Symbol('PAYMENT_GATEWAY');

export interface ChargeRequest {
  /** The gateway charges at most once for it, and gives its first final answer again. */
  readonly idempotencyKey: string;
  readonly orderId: string;
  readonly amount: Money;
  /** Never in a log or an error. */
  readonly token: string;
  readonly signal: AbortSignal;
}

export type ChargeResult = { readonly status: 'captured'; readonly reference: string } | { readonly status: 'declined' };

export interface RefundRequest {
  readonly idempotencyKey: string;
  readonly orderId: string;
  /** The charge's. */
  readonly reference: string;
  readonly amount: Money;
  readonly signal: AbortSignal;
}

/** A charge that the gateway has booked. */
export interface Charge {
  readonly reference: string;
  readonly amount: Money;
  readonly refunded: boolean;
}

/** What payment needs of whoever moves the money. Implement it for yours and bind it in payment.module.ts. */
export interface PaymentGateway {
  /** Rejects when there is no final answer: the money may have been taken or not. A refusal is an answer. */
  charge(request: ChargeRequest): Promise<ChargeResult>;
  /** Resolves once the charge is given back, also when it was before. */
  refund(request: RefundRequest): Promise<void>;
  /** The charge of an order, one that is not refunded first. Must know of every charge whose call has ended before this one began. */
  findCharge(orderId: string, signal: AbortSignal): Promise<Charge | null>;
}

/** The gateway could not be reached, or answered nonsense; whether it acted is not known. */
export class GatewayUnavailableError extends Error {
  readonly code = 'PAYMENT.GATEWAY_UNAVAILABLE';
  override readonly name = 'GatewayUnavailableError';
}
