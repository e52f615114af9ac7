interface Route {
  readonly method: string;
  readonly pattern: RegExp;
}

/** Which methods a path knows: Fastify says 404 to a wrong method, and HTTP wants 405. */
export class RouteTable {
  private readonly routes: Route[] = [];

  add(methods: string | readonly string[], path: string): void {
    const pattern = new RegExp(`^${path.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replace(/:[^/]+/g, '[^/]+').replace(/\\\*/g, '.*')}$`);
    for (const method of [methods].flat()) this.routes.push({ method, pattern });
  }

  methodsOf(url: string): string[] {
    const path = url.split('?')[0] ?? '';
    const found = this.routes.filter(({ pattern, method }) => method !== 'OPTIONS' && pattern.source !== '^.*$' && pattern.test(path));
    return [...new Set(found.map(({ method }) => method))].sort();
  }
}
