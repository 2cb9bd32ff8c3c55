// Dead letters of all services: events that could not be handled, and handing them over again.

import { Failure, perhaps, post } from "./api.js";
import { h } from "./dom.js";
import { readFleet, thoseWith } from "./fleet.js";
import { badge, heading, nothing, reference, section, service, table } from "./parts.js";
import { ago } from "./time.js";
import { count, last } from "./words.js";

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

  async load({ get }) {
    const asked = thoseWith(await readFleet(get), "mercato.dead_letters");
    const answers = await Promise.all(asked.map((name) => perhaps(get(`/v1/services/${name}/deadLetters`))));
    return asked.map((name, index) => ({ name, letters: answers[index] && (answers[index].deadLetters ?? []) }));
  },

  render(found, tell) {
    const total = found.reduce((sum, one) => sum + (one.letters?.length ?? 0), 0);
    const silent = found.filter((one) => one.letters === null).map((one) => one.name);
    return [
      heading(
        "Dead letters",
        badge(total ? "bad" : "good", total ? "fault" : "done", total ? count(total, "dead letter") : "none"),
      ),
      h(
        "p",
        { class: "lead" },
        "Events that a service tried to handle until it gave up. Once their cause is gone, have them handled again; one that fails again stays.",
      ),
      h("p", { role: "status", class: "said" }, tell.state.said),
      silent.length > 0 && nothing(`${silent.join(", ")} cannot be asked now.`),
      found.filter((one) => one.letters?.length).map((one) => ofService(one, tell)),
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
        `Replay all ${list.length}`,
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
