/** What SQS takes in one batch request. */ export const MAX_BATCH_ENTRIES = 10;
/** The limit of a queue that does not tell its own: the lower one of the two that SQS has had. */ export const DEFAULT_MAX_BYTES =
  256 * 1024;

//# sourceMappingURL=sqs.settings.js.map
