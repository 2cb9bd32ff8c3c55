// The steps of a saga: the way there, and the way back below it where the saga turned round.

import { h } from "./dom.js";
import { icon } from "./icons.js";
import { milliseconds, lasting } from "./time.js";
import { count, plain } from "./words.js";

const FORWARD = {
  STATE_TO_DO: ["quiet", "waiting", "to do"],
  STATE_CURRENT: ["busy", "current", "next"],
  STATE_DONE: ["good", "done", "done"],
  STATE_REFUSED: ["bad", "refused", "refused"],
  STATE_TO_UNDO: ["good", "done", "done"],
  STATE_UNDONE: ["good", "done", "done"],
  STATE_SKIPPED: ["quiet", "waiting", "never begun"],
};
const BACK = { STATE_TO_UNDO: ["busy", "current", "to be undone"], STATE_UNDONE: ["warn", "undone", "undone"] };

/** Draw the steps; tries and times are those of the spans that were recorded. */
export function sagaSteps(saga, spans) {
  const turned = Boolean(saga.refusal);
  return h(
    "ol",
    { class: `steps ${turned ? "turned" : ""}` },
    (saga.steps ?? []).map((step) => drawn(step, saga, spans ?? [])),
  );
}

/** The steps as a row of signs, for lists. */
export const sagaSigns = (steps = []) =>
  h(
    "span",
    { class: "signs" },
    steps.map((step) => {
      const [tone, sign, word] = BACK[step.state] ?? FORWARD[step.state] ?? FORWARD.STATE_TO_DO;
      return h(
        "span",
        { class: tone, title: `${plain(step.name)}: ${word}` },
        icon(sign),
        h("span", { class: "unseen" }, `${plain(step.name)}: ${word}. `),
      );
    }),
  );

function drawn(step, saga, spans) {
  const [tone, sign, word] = FORWARD[step.state] ?? FORWARD.STATE_TO_DO;
  const back = BACK[step.state];
  const failing = saga.step === step.name && saga.attempts > 0 && saga.status !== "done" && saga.status !== "undone";
  const undone = tried(spans, `undo ${step.name}`);
  const failed = failing && h("em", { class: "bad" }, `, failed ${count(saga.attempts, "time")}`);
  return h(
    "li",
    { class: `${tone} ${back ? "back" : ""}`, "data-key": step.name },
    h("span", { class: "sign" }, icon(sign)),
    h("b", {}, plain(step.name)),
    h("small", {}, [word, ...tried(spans, step.name)].join(", "), !back && failed),
    back &&
      h(
        "span",
        { class: `undo ${back[0]}` },
        icon(back[1]),
        h("span", {}, [back[2], ...undone].join(", "), !undone.length && failed),
      ),
    step.state === "STATE_REFUSED" &&
      saga.refusal &&
      h("span", { class: "undo bad" }, h("span", {}, saga.refusal.reason)),
  );
}

function tried(spans, name) {
  const tries = spans.filter((span) => span.name === name);
  if (!tries.length) return [];
  const took = lasting(tries.reduce((sum, each) => sum + milliseconds(each.duration), 0));
  return tries.length > 1 ? [`${tries.length} tries`, took] : [took];
}
