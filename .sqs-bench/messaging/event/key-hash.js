/**
 * FNV-1a, 32 bit (Fowler, Noll, Vo), over the UTF-8 bytes, mixed by MurmurHash3's finalizer so that
 * the low bits are even enough to take a remainder of.
 * WARNING: lanes and queues of stored events depend on its value; it must never change.
 */ export function keyHash(key) {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(key, 'utf8')) {
    hash ^= byte;
    hash = Math.imul(hash, 0x01000193);
  }
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0xc2b2ae35);
  hash ^= hash >>> 16;
  return hash >>> 0;
}
/** The bucket, 0 ≤ n < buckets, that all events of a key fall into. */ export function bucketOf(key, buckets) {
  return keyHash(key) % buckets;
}

//# sourceMappingURL=key-hash.js.map
