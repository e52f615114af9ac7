import { Body, Controller, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import { ApiAcceptedResponse, ApiBearerAuth, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { ApiPage, ApiProblems, decodeCursor, OperatorOnly, pageOf, PageQuery, ProblemError, UuidParam, type Page } from '../http/index.js';
import { DeadLetterNotFoundError, DeadLetterNotOpenError, DeadLetters, InvalidEventError, MessagingStatus } from '../messaging/index.js';
import {
  DeadLetterAnswer,
  DeadLetterDetailAnswer,
  DeadLetterStateAnswer,
  DeadLettersQuery,
  DiscardBody,
  GroupAnswer,
  OutboxAnswer,
  ParkedAnswer,
  PausedAnswer,
  ReplayAllBody,
  ReplayBody,
  ReplayingAnswer,
} from './ops.dto.js';
import { OpsQueries } from './ops.queries.js';

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
  @ApiOperation({ summary: 'How much waits to be published, for how long, and who publishes it' })
  @ApiOkResponse({ type: OutboxAnswer })
  @ApiProblems(401)
  outbox(): Promise<OutboxAnswer> {
    return this.status.outbox();
  }

  @Get('groups')
  @ApiOperation({ summary: 'How far each consumer group is' })
  @ApiPage(GroupAnswer)
  @ApiProblems(400, 401)
  async groups(@Query() query: PageQuery): Promise<Page<GroupAnswer>> {
    const all = await this.status.groups();
    const [after] = decodeCursor(query.cursor, (parts) => typeof parts[0] === 'string') ?? [];
    const from = after === undefined ? 0 : all.findIndex(({ group, topic }) => `${group} ${topic}` === after) + 1;
    return pageOf(all.slice(from, from + query.limit + 1), query.limit, ({ group, topic }) => [`${group} ${topic}`]);
  }

  @Post('groups/:group/pause')
  @ApiOperation({ summary: 'Stop a group on every instance, its retries too' })
  @ApiOkResponse({ type: PausedAnswer })
  @ApiProblems(401, 404)
  @HttpCode(200)
  pause(@Param('group') group: string): Promise<PausedAnswer> {
    return this.setPaused(group, true);
  }

  @Post('groups/:group/resume')
  @ApiOperation({ summary: 'Let a group go on' })
  @ApiOkResponse({ type: PausedAnswer })
  @ApiProblems(401, 404)
  @HttpCode(200)
  resume(@Param('group') group: string): Promise<PausedAnswer> {
    return this.setPaused(group, false);
  }

  @Get('parked')
  @ApiOperation({ summary: 'Events that wait for their next attempt, or behind an earlier one of their key' })
  @ApiPage(ParkedAnswer)
  @ApiProblems(400, 401)
  async parked(@Query() query: PageQuery): Promise<Page<ParkedAnswer>> {
    const [after] = decodeCursor(query.cursor, (parts) => /^\d{1,18}$/.test(String(parts[0]))) ?? [];
    const rows = await this.queries.parked(after, query.limit + 1);
    const { items, nextCursor } = pageOf(rows, query.limit, ({ seq }) => [seq]);
    return { items: items.map(({ seq: _seq, ...row }) => row), nextCursor };
  }

  @Get('dead-letters')
  @ApiOperation({ summary: 'Events that were given up, oldest first; the open ones unless a state is named' })
  @ApiPage(DeadLetterAnswer)
  @ApiProblems(400, 401)
  async deadLetters(@Query() query: DeadLettersQuery): Promise<Page<DeadLetterAnswer>> {
    const [after] = decodeCursor(query.cursor, (parts) => UUID.test(String(parts[0]))) ?? [];
    const { group, type, key, state } = query;
    const rows = await this.queries.deadLetters({ group, type, key, state: state ?? 'open' }, after, query.limit + 1);
    return pageOf(rows, query.limit, ({ id }) => [id]);
  }

  @Get('dead-letters/:id')
  @ApiOperation({ summary: 'One of them, with its bytes' })
  @ApiOkResponse({ type: DeadLetterDetailAnswer })
  @ApiProblems(400, 401, 404)
  async deadLetter(@Param('id', UuidParam) id: string): Promise<DeadLetterDetailAnswer> {
    const letter = await this.queries.deadLetter(id);
    if (!letter) throw notFound(id);
    const text = letter.payload.toString('utf8');
    const isText = Buffer.from(text, 'utf8').equals(letter.payload);
    return { ...letter, payload: isText ? text : letter.payload.toString('base64'), ...(!isText && { encoding: 'base64' }) };
  }

  @Post('dead-letters/replay')
  @ApiOperation({ summary: 'Replay every open one that matches' })
  @ApiAcceptedResponse({ type: ReplayingAnswer })
  @ApiProblems(400, 401)
  @HttpCode(202)
  async replayAll(@Body() { before, ...filter }: ReplayAllBody): Promise<ReplayingAnswer> {
    const replaying = await this.letters.replayAll({ ...filter, ...(before !== undefined && { before: new Date(before) }) });
    return { replaying };
  }

  @Post('dead-letters/:id/replay')
  @ApiOperation({ summary: 'Let its group handle it again, before what waits behind it; with other data or its own' })
  @ApiAcceptedResponse({ type: DeadLetterStateAnswer })
  @ApiProblems(400, 401, 404, 409)
  @HttpCode(202)
  async replay(@Param('id', UuidParam) id: string, @Body() body?: ReplayBody): Promise<DeadLetterStateAnswer> {
    await translated(id, () => this.letters.replay(id, body?.data));
    return { id, state: 'replaying' };
  }

  @Post('dead-letters/:id/discard')
  @ApiOperation({ summary: 'Drop it for its group; what waits behind it goes on' })
  @ApiOkResponse({ type: DeadLetterStateAnswer })
  @ApiProblems(400, 401, 404, 409)
  @HttpCode(200)
  async discard(@Param('id', UuidParam) id: string, @Body() body: DiscardBody): Promise<DeadLetterStateAnswer> {
    await translated(id, () => this.letters.discard(id, body.reason));
    return { id, state: 'discarded' };
  }

  private async setPaused(group: string, paused: boolean): Promise<PausedAnswer> {
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
