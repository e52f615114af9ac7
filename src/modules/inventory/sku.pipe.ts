import type { PipeTransform } from '@nestjs/common';
import { MalformedSkuError } from './inventory.errors.js';

const SKU = /^[A-Za-z0-9._-]{1,64}$/;

/** A sku in a path. */
export class SkuPipe implements PipeTransform<string, string> {
  transform(value: string): string {
    if (!SKU.test(value)) throw new MalformedSkuError();
    return value;
  }
}

/** Whether a cursor holds the last sku shown. */
export function isSku([sku, ...more]: readonly string[]): boolean {
  return sku !== undefined && SKU.test(sku) && more.length === 0;
}
