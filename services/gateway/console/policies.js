// Traffic policies: what the mesh is told about spreading calls.

import { h } from "./dom.js";
import { NO_MESH } from "./fleet.js";
import { icon } from "./icons.js";
import { badge, heading, meter, nothing, section, service } from "./parts.js";
import { ago, milliseconds, lasting } from "./time.js";
import { count, last, rate } from "./words.js";

const CODES = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
];

export const policies = {
  title: () => "Traffic",
  without: NO_MESH,
  load: ({ get }) => get("/v1/mesh"),

  render({ mesh = {} }) {
    const known = (mesh.services ?? []).filter((each) => each.instances?.length || each.policy);
    const set = known.filter((each) => each.policy && policyWords(each.policy).length);
    return [
      heading(
        "Traffic policies",
        badge(set.length ? "busy" : "quiet", "", set.length ? `${set.length} set` : "none set"),
      ),
      h(
        "p",
        { class: "lead" },
        "How calls are spread over the instances of a service, and what goes wrong on purpose. Set with ",
        h("code", {}, "mercato mesh"),
        "; clients follow at once.",
      ),
      known.length ? h("div", { class: "tiles" }, known.map(tile)) : nothing("The mesh knows of no instance."),
      clients(mesh.clients ?? []),
    ];
  },
};

/** Return what a policy says, a sentence for each part that is set. */
export function policyWords({ split = [], fault, maxRequests, drainedInstances = [] }) {
  const total = split.reduce((sum, share) => sum + (share.weight ?? 0), 0);
  return [
    split.length &&
      `Calls go to ${split.map((share) => `${share.version} ${percent(share.weight ?? 0, total)}`).join(", ")}.`,
    fault && faultWords(fault),
    maxRequests && `Each client may have ${count(maxRequests, "call")} under way at most.`,
    drainedInstances.length && `No new calls to ${drainedInstances.join(", ")}.`,
  ].filter(Boolean);
}

const percent = (part, whole) => `${whole ? Number(((100 * part) / whole).toPrecision(3)) : 0} %`;

function faultWords({ percent: share, delay, abortCode, method }) {
  const which = method ? `of ${last(method)} ` : "";
  const what = [
    delay && `wait ${lasting(milliseconds(delay))}`,
    abortCode && `are refused with ${CODES[abortCode] ?? abortCode}`,
  ];
  return `On purpose, ${share} % of calls ${which}${what.filter(Boolean).join(" and ")}.`;
}

function tile({ service: name, instances = [], policy }) {
  const said = policy ? policyWords(policy) : [];
  return h(
    "section",
    { class: `panel ${said.length ? "set" : ""}`, "data-key": name },
    h("header", {}, h("h2", {}, service(name)), policy?.updateTime && h("small", {}, `set ${ago(policy.updateTime)}`)),
    said.length
      ? h(
          "ul",
          { class: "said" },
          said.map((one) => h("li", {}, one)),
        )
      : h("p", { class: "quiet" }, "Spread over all instances."),
    h("ul", { class: "shares" }, instances.map(share)),
  );
}

function share(instance) {
  const part = instance.trafficShare ?? 0;
  const served = `${rate(instance.callsPerSecond)}/s`;
  return h(
    "li",
    {},
    h("span", {}, instance.name, " ", h("small", {}, instance.version)),
    meter(part, "busy", `${Math.round(100 * part)} % of calls`),
    h("span", { class: "number" }, served),
  );
}

function clients(open) {
  if (!open.length) return null;
  const states = {
    STATE_ACKED: ["good", "done", "uses it"],
    STATE_SENT: ["busy", "current", "sent"],
    STATE_NACKED: ["bad", "refused", "refused it"],
  };
  return section(
    "Clients, and what each makes of what it was last sent",
    null,
    h(
      "ul",
      { class: "clients" },
      open.map(({ name, configs = [] }) => {
        const worst =
          configs.find((config) => config.state === "STATE_NACKED") ??
          configs.find((config) => config.state === "STATE_SENT") ??
          configs[0];
        const [tone, sign, word] = states[worst?.state] ?? ["quiet", "waiting", "asked for nothing"];
        return h(
          "li",
          { "data-key": name, title: worst?.error, class: tone },
          icon(sign),
          h("span", {}, name),
          h("span", { class: "word" }, word),
        );
      }),
    ),
  );
}
