/** What a process that was told something impossible exits with (EX_CONFIG of sysexits.h): restarting it does not help. */ export const CONFIG_EXIT_CODE = 78;
/** The environment is wrong; the message has every problem, a line each, and no secret. */ export class ConfigError extends Error {
  problems;
  code = 'CONFIG.INVALID';
  name = 'ConfigError';
  constructor(/** One entry a variable: `BROKER is "kafak"; allowed: …`. */ problems) {
    const count = problems.length === 1 ? '1 problem' : `${problems.length} problems`;
    (super(
      `The configuration is not valid, ${count}:\n${problems.map((problem) => `  - ${problem}`).join('\n')}\nEvery variable is explained in .env.example.`,
    ),
      (this.problems = problems));
  }
}

//# sourceMappingURL=config.errors.js.map
