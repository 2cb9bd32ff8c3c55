// Times and durations as protos write them in JSON, and as people read them.

/** Return a timestamp's nanoseconds since 1970: spans of one trace differ by less than Date can tell. */
export function nanoseconds(timestamp) {
  const [, seconds, part = ""] = /^(.*?)(?:\.(\d+))?Z$/.exec(timestamp);
  return BigInt(Date.parse(`${seconds}Z`)) * 1_000_000n + BigInt(part.padEnd(9, "0"));
}

/** Return how many milliseconds lie between two timestamps. */
export const between = (from, to) => Number(nanoseconds(to) - nanoseconds(from)) / 1e6;

/** Return the milliseconds of a duration, written as `0.012s`. */
export const milliseconds = (duration) => 1000 * parseFloat(duration ?? "0s");

/** Return milliseconds in words: `840 µs`, `3.2 ms`, `1.25 s`, `4 min`. */
export function lasting(ms) {
  if (ms === 0) return "0 ms";
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${Number((ms / 1000).toPrecision(3))} s`;
  if (ms < 3_600_000) return `${Math.round(ms / 60_000)} min`;
  if (ms < 172_800_000) return `${Math.round(ms / 3_600_000)} h`;
  return `${Math.round(ms / 86_400_000)} days`;
}

/** Return how long ago a timestamp is: `12 s ago`. */
export function ago(timestamp) {
  const ms = Math.max(0, Date.now() - Date.parse(timestamp));
  return ms < 60_000 ? `${Math.floor(ms / 1000)} s ago` : `${lasting(ms)} ago`;
}

/** Return the time of day in UTC, to the millisecond: `08:26:00.123`. */
export const clock = (timestamp) => new Date(timestamp).toISOString().slice(11, 23);

/** Return date and time of day in UTC: `2010-12-01 08:26:00`. */
export const moment = (timestamp) => new Date(timestamp).toISOString().slice(0, 19).replace("T", " ");
