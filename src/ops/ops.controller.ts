import { Body, Controller, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import { ApiBearerAuth, ApiTags } from '@nestjs/swagger';
import { decodeCursor, OperatorOnly, pageOf, PageQuery, ProblemError, UuidParam, type Page } from '../http/index.js';
import {
  DeadLetterNotFoundError,
  DeadLetterNotOpenError,
  DeadLetters,
  InvalidEventError,
  MessagingStatus,
  type GroupStatus,
  type OutboxStatus,
} from '../messaging/index.js';
import { DeadLettersQuery, DiscardBody, ReplayAllBody, ReplayBody } from './ops.dto.js';
import { OpsQueries, type DeadLetterRow, type ParkedRow } from './ops.queries.js';

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** The operator's view of messaging, and what an operator can do. */
@ApiTags('operations')
@ApiBearerAuth()
@OperatorOnly()
@Controller('ops')
export class OpsController {
  constructor(
    private readonly status: MessagingStatus,
    private readonly letters: DeadLetters,
    private readonly queries: OpsQueries,
  ) {}

  @Get('outbox')
  outbox(): Promise<OutboxStatus> {
    return this.status.outbox();
  }

  @Get('groups')
  async groups(@Query() query: PageQuery): Promise<Page<GroupStatus>> {
    const all = await this.status.groups();
    const [after] = decodeCursor(query.cursor, (parts) => typeof parts[0] === 'string') ?? [];
    const from = after === undefined ? 0 : all.findIndex(({ group, topic }) => `${group} ${topic}` === after) + 1;
    return pageOf(all.slice(from, from + query.limit + 1), query.limit, ({ group, topic }) => [`${group} ${topic}`]);
  }

  @Post('groups/:group/pause')
  @HttpCode(200)
  pause(@Param('group') group: string): Promise<{ group: string; paused: boolean }> {
    return this.setPaused(group, true);
  }

  @Post('groups/:group/resume')
  @HttpCode(200)
  resume(@Param('group') group: string): Promise<{ group: string; paused: boolean }> {
    return this.setPaused(group, false);
  }

  @Get('parked')
  async parked(@Query() query: PageQuery): Promise<Page<Omit<ParkedRow, 'seq'>>> {
    const [after] = decodeCursor(query.cursor, (parts) => /^\d{1,18}$/.test(String(parts[0]))) ?? [];
    const rows = await this.queries.parked(after, query.limit + 1);
    const { items, nextCursor } = pageOf(rows, query.limit, ({ seq }) => [seq]);
    return { items: items.map(({ seq: _seq, ...row }) => row), nextCursor };
  }

  @Get('dead-letters')
  async deadLetters(@Query() query: DeadLettersQuery): Promise<Page<DeadLetterRow>> {
    const [after] = decodeCursor(query.cursor, (parts) => UUID.test(String(parts[0]))) ?? [];
    const { group, type, key, state } = query;
    const rows = await this.queries.deadLetters({ group, type, key, state: state ?? 'open' }, after, query.limit + 1);
    return pageOf(rows, query.limit, ({ id }) => [id]);
  }

  @Get('dead-letters/:id')
  async deadLetter(@Param('id', UuidParam) id: string): Promise<object> {
    const letter = await this.queries.deadLetter(id);
    if (!letter) throw notFound(id);
    const text = letter.payload.toString('utf8');
    const isText = Buffer.from(text, 'utf8').equals(letter.payload);
    return { ...letter, payload: isText ? text : letter.payload.toString('base64'), ...(!isText && { encoding: 'base64' }) };
  }

  @Post('dead-letters/replay')
  @HttpCode(202)
  async replayAll(@Body() body: ReplayAllBody): Promise<{ replaying: number }> {
    return { replaying: await this.letters.replayAll({ ...body }) };
  }

  @Post('dead-letters/:id/replay')
  @HttpCode(202)
  async replay(@Param('id', UuidParam) id: string, @Body() body?: ReplayBody): Promise<{ id: string; state: 'replaying' }> {
    await translated(id, () => this.letters.replay(id, body?.data));
    return { id, state: 'replaying' };
  }

  @Post('dead-letters/:id/discard')
  @HttpCode(200)
  async discard(@Param('id', UuidParam) id: string, @Body() body: DiscardBody): Promise<{ id: string; state: 'discarded' }> {
    await translated(id, () => this.letters.discard(id, body.reason));
    return { id, state: 'discarded' };
  }

  private async setPaused(group: string, paused: boolean): Promise<{ group: string; paused: boolean }> {
    if (!(await this.status.setPaused(group, paused)))
      throw new ProblemError(404, 'GROUP.NOT_FOUND', 'Not Found', `there is no consumer group "${group}"`);
    return { group, paused };
  }
}

function notFound(id: string): ProblemError {
  return new ProblemError(404, 'DEAD_LETTER.NOT_FOUND', 'Not Found', `there is no dead letter ${id}`);
}

async function translated(id: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (error instanceof DeadLetterNotFoundError) throw notFound(id);
    if (error instanceof DeadLetterNotOpenError)
      throw new ProblemError(409, 'DEAD_LETTER.NOT_OPEN', 'The dead letter is not open', error.message);
    if (error instanceof InvalidEventError) {
      const errors = error.problems.map((message) => ({ field: `data.${message.split(' ')[0]}`, message }));
      throw new ProblemError(400, 'INVALID_EVENT', 'The data is not valid', 'The data is not what the event demands.', { errors });
    }
    throw error;
  }
}
