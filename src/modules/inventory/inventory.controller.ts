import { Body, Controller, Get, Param, Put, Query } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiParam, ApiTags } from '@nestjs/swagger';
import { ApiPage, ApiProblems, OperatorOnly, PageQuery, type Page } from '../../http/index.js';
import { PutStockItemBody, StockItemAnswer } from './inventory.dto.js';
import { InventoryService } from './inventory.service.js';
import { SkuPipe } from './sku.pipe.js';

@ApiTags('inventory')
@Controller('inventory')
export class InventoryController {
  constructor(private readonly inventory: InventoryService) {}

  @Get()
  @ApiOperation({ summary: 'The catalogue, by sku' })
  @ApiPage(StockItemAnswer)
  @ApiProblems(400)
  list(@Query() query: PageQuery): Promise<Page<StockItemAnswer>> {
    return this.inventory.list(query);
  }

  @Get(':sku')
  @ApiParam({ name: 'sku', example: 'coffee-1kg' })
  @ApiOkResponse({ type: StockItemAnswer })
  @ApiProblems(400, 404)
  find(@Param('sku', SkuPipe) sku: string): Promise<StockItemAnswer> {
    return this.inventory.find(sku);
  }

  @Put(':sku')
  @OperatorOnly()
  @ApiOperation({ summary: 'Create an item or change it; onHand not below what orders hold' })
  @ApiParam({ name: 'sku', example: 'coffee-1kg' })
  @ApiOkResponse({ type: StockItemAnswer })
  @ApiProblems(400, 401, 409)
  put(@Param('sku', SkuPipe) sku: string, @Body() body: PutStockItemBody): Promise<StockItemAnswer> {
    return this.inventory.put(sku, body);
  }
}
