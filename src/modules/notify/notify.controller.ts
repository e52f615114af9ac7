import { Controller, Get, Query } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import { ApiPage, ApiProblems, type Page } from '../../http/index.js';
import { NotificationAnswer, NotificationsQuery } from './notify.dto.js';
import { NotifyService } from './notify.service.js';

@ApiTags('notifications')
@Controller('notifications')
export class NotifyController {
  constructor(private readonly notifications: NotifyService) {}

  @Get()
  @ApiOperation({ summary: 'What the customer of an order was told, oldest first' })
  @ApiPage(NotificationAnswer)
  @ApiProblems(400)
  list(@Query() query: NotificationsQuery): Promise<Page<NotificationAnswer>> {
    return this.notifications.list(query);
  }
}
