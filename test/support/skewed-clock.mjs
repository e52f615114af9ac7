// Loaded before the application by `--import`: its clock is off by CLOCK_SKEW_MS, as on a machine whose clock is wrong.
const skew = Number(process.env.CLOCK_SKEW_MS);
const RealDate = Date;

globalThis.Date = class extends RealDate {
  constructor(...args) {
    if (args.length === 0) super(RealDate.now() + skew);
    else super(...args);
  }

  static now() {
    return RealDate.now() + skew;
  }
};
