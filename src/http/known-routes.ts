import type { FastifyInstance } from 'fastify';

interface KnownRoute {
  readonly segments: readonly string[];
  readonly methods: Set<string>;
}

/** Which methods an address has, for the 405 that Fastify does not know. */
export class KnownRoutes {
  private readonly routes = new Map<string, KnownRoute>();

  constructor(instance: FastifyInstance) {
    instance.addHook('onRoute', ({ url, method }) => {
      const route = this.routes.get(url) ?? { segments: url.split('/'), methods: new Set() };
      for (const name of [method].flat()) route.methods.add(name);
      this.routes.set(url, route);
    });
  }

  /** Sorted; empty where nothing is at the address. */
  methodsAt(target: string): string[] {
    const segments = segmentsOf(target);
    if (!segments) return [];
    const matching = [...this.routes.values()].filter((route) => matches(route.segments, segments));
    return [...new Set(matching.flatMap(({ methods }) => [...methods]))].sort();
  }
}

function segmentsOf(target: string): string[] | undefined {
  const [path = ''] = (/^https?:\/\/[^/?#]*(.*)$/i.exec(target)?.[1] ?? target).split(/[?#]/, 1);
  try {
    return path.split('/').map(decodeURIComponent);
  } catch {
    return undefined;
  }
}

function matches(pattern: readonly string[], segments: readonly string[]): boolean {
  const wildcard = pattern.at(-1) === '*';
  if (wildcard ? segments.length < pattern.length : segments.length !== pattern.length) return false;
  return pattern.every((part, at) => part === '*' || (part.includes(':') ? segments[at] !== '' : part === segments[at]));
}
