import { spawn } from 'node:child_process';
import fs from 'node:fs';
import pg from 'pg';
import { isAlive } from '../../scripts/lib/process-tree.mjs';
import { startServer, type Server } from '../../scripts/servers/index.mjs';
import { eventually } from './eventually.js';

/** On PostgreSQL and fauxqs, which start in a second; what is under test is the same for all servers. */
describe('a server that the tests start', () => {
  let server: Server;

  const query = async (sql: string): Promise<unknown[]> => {
    const client = new pg.Client({ connectionString: server.env['DATABASE_URL'] });
    client.on('error', () => undefined);
    await client.connect();
    try {
      return (await client.query(sql)).rows;
    } finally {
      await client.end();
    }
  };

  beforeAll(async () => {
    server = await startServer('postgres');
    await query('CREATE TABLE kept (value int)');
  });

  afterAll(async () => {
    await server.dispose();
    expect(server.pids).toEqual([]);
    expect(fs.existsSync(server.dir)).toBe(false);
  });

  it.each(['stop', 'kill'] as const)('comes back on the same port with its data after a %s', async (end) => {
    await query('INSERT INTO kept VALUES (1)');
    const before = await query('SELECT count(*) FROM kept');
    const pids = [...server.pids];

    await server[end]();
    expect(pids.filter(isAlive)).toEqual([]);
    await expect(query('SELECT 1')).rejects.toThrow();

    await server.start();
    expect(await query('SELECT count(*) FROM kept')).toEqual(before);
  });

  it('answers nothing while it is frozen, and everything afterwards', async () => {
    server.freeze();
    const answer = query('SELECT 1 AS one');
    const first = await Promise.race([answer, new Promise((resolve) => setTimeout(() => resolve('nothing'), 300))]);
    server.thaw();
    expect(first).toBe('nothing');
    expect(await answer).toEqual([{ one: 1 }]);
  });

  it('says what keeps it from starting', async () => {
    const port = Number(new URL(String(server.env['DATABASE_URL'])).port);
    await expect(startServer('sqs', { variant: 'fauxqs', port })).rejects.toThrow(`another program listens on its port ${port}`);
  });

  it('ends with the process that started it, even when that is killed', async () => {
    const index = new URL('../../scripts/servers/index.mjs', import.meta.url).href;
    const program = `
      const { startServer } = await import(${JSON.stringify(index)});
      const servers = await Promise.all([startServer('postgres'), startServer('sqs', { variant: 'fauxqs' })]);
      console.log(JSON.stringify({ pids: servers.flatMap(({ pids }) => pids), dirs: servers.map(({ dir }) => dir) }));
      setInterval(() => undefined, 1000);`;
    const parent = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    let pids: number[] = [];
    let dirs: string[] = [];
    try {
      const line = await new Promise<string>((resolve) => parent.stdout.once('data', (text) => resolve(String(text))));
      ({ pids, dirs } = JSON.parse(line) as { pids: number[]; dirs: string[] });
      expect(pids.some(isAlive)).toBe(true); // a server has children that live for a moment only
    } finally {
      parent.kill('SIGKILL');
    }
    await eventually(() => {
      expect(pids.filter(isAlive)).toEqual([]);
      expect(dirs.filter((dir) => fs.existsSync(dir))).toEqual([]);
    });
  });
});
