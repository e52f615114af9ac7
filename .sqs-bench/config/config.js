/** Injection token of the process's Config. */ export const CONFIG = Symbol('CONFIG');
export const BROKERS = ['postgres', 'kafka', 'rabbitmq', 'sqs'];
export const ROLES = ['http', 'relay', 'consumers'];

//# sourceMappingURL=config.js.map
