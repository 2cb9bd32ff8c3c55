// How a service went over the last quarter of an hour: calls a second, and the time that 99 of 100 of them took at most.

const METRIC = "rpc.server.call.duration";
const MINUTES = 15;
const STEP_MS = 15_000; // as often as telemetry records
const FRESH_MS = 5000;

/** Read it for a service; what was read a moment ago is good enough. Null without telemetry. */
export async function readCourse(spare, service, before) {
  if (!service) return null;
  if (before?.service === service && Date.now() - before.time < FRESH_MS) return before;
  const answer = await spare("/v1/series", { metric: METRIC, service, since: `${60 * MINUTES}s` });
  return answer && { service, time: Date.now(), ...course(answer.series ?? [], Date.now()) };
}

/** Return `{ calls, slowest }`, a number for each step of time, oldest first. */
export function course(series, now) {
  const steps = (60_000 * MINUTES) / STEP_MS;
  const calls = Array(steps).fill(0);
  const slowest = Array(steps).fill(0);
  for (const { points = [] } of series) {
    const sums = Array.from({ length: steps }, () => [0, 0]);
    for (const { time, value = 0, p99S = 0 } of points) {
      const step = steps - 1 - Math.floor((now - Date.parse(time)) / STEP_MS);
      if (step < 0 || step >= steps) continue;
      sums[step][0] += value;
      sums[step][1] += 1;
      slowest[step] = Math.max(slowest[step], p99S);
    }
    sums.forEach(([sum, count], step) => (calls[step] += count ? sum / count : 0));
  }
  return { calls, slowest };
}
