// How an instance is: a tone, a sign and a word, so that colour is never the only one to tell.

const STATES = {
  STATE_SERVING: { tone: "good", sign: "serving", word: "serving" },
  STATE_DRAINING: { tone: "warn", sign: "draining", word: "draining" },
  STATE_UNHEALTHY: { tone: "bad", sign: "unhealthy", word: "down" },
};
const LACKS = /^\w+: /; // one that runs says what it lacks, as `database: no answer within 2 s`
const UNKNOWN = { tone: "quiet", sign: "unknown", word: "unknown" };

/** Say how an instance is; one among those that `returned` serves again after it was away. */
export function health(instance, returned) {
  const state = STATES[instance.state] ?? UNKNOWN;
  if (state.tone === "bad" && LACKS.test(instance.reason)) return { ...state, word: "not ready" };
  if (state.tone === "good" && returned?.has(instance.name)) return { tone: "busy", sign: "retry", word: "came back" };
  return state;
}
