CREATE TABLE baseline_order (
  "id" text PRIMARY KEY, "customerId" text NOT NULL, "status" text NOT NULL DEFAULT 'pending', "total" integer NOT NULL,
  "currency" text NOT NULL, "createdAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE baseline_order_item (
  "id" text PRIMARY KEY, "orderId" text NOT NULL REFERENCES baseline_order, "sku" text NOT NULL, "quantity" integer NOT NULL,
  "unitPrice" integer NOT NULL
);
CREATE TABLE baseline_outbox (
  "id" text PRIMARY KEY, "topic" text NOT NULL, "key" text NOT NULL, "type" text NOT NULL, "payload" jsonb NOT NULL,
  "status" text NOT NULL DEFAULT 'pending', "createdAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, "publishedAt" timestamp(3)
);
CREATE INDEX ON baseline_outbox ("status", "createdAt");
CREATE TABLE baseline_processed_event (
  "group" text NOT NULL, "eventId" text NOT NULL, "processedAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY ("group", "eventId")
);
