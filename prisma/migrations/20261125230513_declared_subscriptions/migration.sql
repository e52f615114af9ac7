-- CreateTable
CREATE TABLE "declared_subscription" (
    "seq" BIGSERIAL NOT NULL,
    "group_name" TEXT NOT NULL,
    "topic" TEXT NOT NULL,
    "declared_at" TIMESTAMPTZ(3) NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT "declared_subscription_pkey" PRIMARY KEY ("group_name","topic")
);
