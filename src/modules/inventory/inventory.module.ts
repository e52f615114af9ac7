import { Module } from '@nestjs/common';
import { CommitStockWhenOrderConfirmed } from './consumers/commit-stock-when-order-confirmed.consumer.js';
import { ReleaseStockWhenOrderCancelled } from './consumers/release-stock-when-order-cancelled.consumer.js';
import { ReserveStockWhenOrderPlaced } from './consumers/reserve-stock-when-order-placed.consumer.js';
import { InventoryController } from './inventory.controller.js';
import { InventoryService } from './inventory.service.js';

@Module({
  controllers: [InventoryController],
  providers: [InventoryService, ReserveStockWhenOrderPlaced, CommitStockWhenOrderConfirmed, ReleaseStockWhenOrderCancelled],
})
export class InventoryModule {}
