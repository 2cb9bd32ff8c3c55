// Dead letters of all services: events that could not be handled, and handing them over again.

import { Failure, post } from "./api.js";
import { h } from "./dom.js";
import { readFleet, readKeepers, thoseWith } from "./fleet.js";
import { heading, reference, section, service, table, tally, unanswered } from "./parts.js";
import { ago } from "./time.js";
import { atLeast, count, last } from "./words.js";

const MOST = 1000; // the largest page

const COLUMNS = [
  ["event"],
  ["about"],
  ["error of the last try"],
  ["tries", "number"],
  ["given up", "brief"],
  ["trace"],
  [""],
];

export const letters = {
  title: () => "Dead letters",
  beat_ms: () => 2000,

  async load({ get, spare, before }) {
    const keepers = before?.keepers ?? (await readKeepers(get));
    const asked = thoseWith(await readFleet(spare), keepers, "mercato.dead_letters");
    const answers = await Promise.all(
      asked.map((name) => spare(`/v1/services/${name}/deadLetters`, { page_size: MOST })),
    );
    const found = asked.map((name, index) => ({ name, letters: answers[index]?.deadLetters ?? [] }));
    return { keepers, found, silent: asked.filter((_, index) => !answers[index]) };
  },

  render({ found, silent }, tell) {
    const total = found.reduce((sum, one) => sum + one.letters.length, 0);
    const most = found.some((one) => one.letters.length >= MOST) ? total : Infinity;
    return [
      heading(
        "Dead letters",
        tally(total, total ? count(atLeast(total, most), "dead letter") : "none", silent),
      ),
      h(
        "p",
        { class: "lead" },
        "Events that a service tried to handle until it gave up. Once their cause is gone, have them handled again; one that fails again stays.",
      ),
      h("p", { role: "status", class: "said" }, tell.state.said),
      unanswered(silent),
      found.filter((one) => one.letters.length).map((one) => ofService(one, tell)),
    ];
  },
};

const ofService = ({ name, letters: list }, tell) =>
  section(
    service(name),
    list.length > 1 &&
      h(
        "button",
        { type: "button", onclick: () => replay(name, [], tell), disabled: tell.state.busy },
        "Replay all",
      ),
    table(
      `Dead letters of ${name}`,
      COLUMNS,
      list.map((letter) => row(name, letter, tell)),
    ),
  );

const row = (name, letter, tell) => ({
  key: letter.id,
  cells: [
    h("span", { title: `${letter.type} ${letter.id}` }, last(letter.type)),
    reference(letter.key),
    h("span", { class: "bad error" }, letter.error),
    letter.attempts ?? 0,
    letter.createTime && ago(letter.createTime),
    letter.trace && reference(letter.trace),
    h(
      "button",
      {
        type: "button",
        onclick: () => replay(name, [letter.id], tell),
        disabled: tell.state.busy,
        "aria-label": `Replay ${letter.id}`,
      },
      "Replay",
    ),
  ],
});

async function replay(name, ids, { state, redraw }) {
  Object.assign(state, { busy: true, said: `Asking ${name} …` });
  redraw();
  try {
    const { handledCount = 0, failedCount = 0 } = await post(`/v1/services/${name}/deadLetters:replay`, { ids });
    state.said = `${name}: ${handledCount} handled, ${failedCount} failed again.`;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    state.said = `${name}: ${error.message}`;
  } finally {
    state.busy = false;
    redraw();
  }
}
