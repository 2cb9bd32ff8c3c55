// What is known of the services: the mesh knows instances and their health, telemetry knows rates and gauges.

export const NO_MESH = "The mesh does not answer, or this suite runs without it.";
export const NO_TELEMETRY = "Telemetry does not answer, or this suite runs without it.";

/** Read both; null where one does not answer. */
export async function readFleet(spare) {
  const [mesh, traffic] = await Promise.all([spare("/v1/mesh"), spare("/v1/traffic")]);
  return { mesh: mesh ? (mesh.mesh ?? {}) : null, traffic: traffic ?? null };
}

/** Read the names of the services that keep events of their own, whoever of them runs: the API tells. */
export async function readKeepers(get) {
  const { components } = await get("/openapi.json");
  const packages = Object.keys(components.schemas).map((name) => /^mercato\.(\w+)\./.exec(name)?.[1]);
  return [...new Set(packages)].filter((name) => name && !KEEP_NONE.has(name)).sort();
}

const KEEP_NONE = new Set(["mesh", "operations", "policy", "telemetry"]);

/** Return the services by name, each with instances, policy, methods and what its instances' gauges sum up to. */
export function services({ mesh, traffic }) {
  const found = new Map();
  const of = (name) => {
    if (!found.has(name)) found.set(name, { name, instances: [], methods: [], policy: null });
    return found.get(name);
  };
  for (const known of mesh?.services ?? []) {
    const one = of(known.service);
    one.policy = known.policy ?? null;
    one.instances.push(...(known.instances ?? []));
  }
  for (const heard of traffic?.instances ?? []) {
    const one = of(heard.service);
    let instance = one.instances.find((each) => each.name === heard.instance);
    if (!instance)
      one.instances.push((instance = { name: heard.instance, version: heard.version, state: "STATE_UNSPECIFIED" }));
    instance.gauges = heard.gauges ?? {};
  }
  for (const served of traffic?.methods ?? []) of(served.service).methods.push(served);
  return new Map([...found].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Return who leads to whom, by key: calls that are made or, by what clients of the mesh ask for, may be; and streams. */
export function links({ mesh, traffic }) {
  const found = new Map();
  const add = (kind, from, to, more) => {
    if (from !== to) found.set(`${kind}/${from}/${to}`, { key: `${kind}/${from}/${to}`, kind, from, to, ...more });
  };
  for (const [from, to] of askedFor(mesh)) add("edge", from, to, {});
  for (const edge of traffic?.edges ?? []) if (edge.caller !== TOGETHER) add("edge", edge.caller, edge.callee, { edge });
  leaveOutReports(found);
  for (const stream of traffic?.streams ?? []) add("stream", stream.producer, stream.consumer, { stream });
  return found;
}

/** Leave out calls within to where most report, as to the mesh and telemetry: their wires would hide the others. */
function leaveOutReports(found) {
  const all = [...found.values()];
  const callers = new Set(all.map((link) => link.from));
  const called = new Set(all.map((link) => link.to));
  if (callers.size < FEW) return;
  for (const { key, from, to } of all) {
    const askers = all.filter((link) => link.to === to).length;
    if (askers > callers.size / 2 && called.has(from)) found.delete(key);
  }
}

/** Return who may call whom, `[from, to]`: whom the clients of the mesh ask for. */
function askedFor(mesh) {
  const known = new Set((mesh?.services ?? []).map((each) => each.service));
  const asked = new Map();
  for (const { name, configs = [] } of mesh?.clients ?? []) {
    const from = name.split("/")[0];
    const names = configs.find((config) => config.type === "Listener")?.names ?? [];
    if (known.has(from)) asked.set(from, new Set([...(asked.get(from) ?? []), ...names]));
  }
  return [...asked].flatMap(([from, names]) => [...names].map((to) => [from, to]));
}

const FEW = 4;

/** In whose name services tell that share its process; it calls nobody. */
export const TOGETHER = "together";

/** Return the sum of a gauge over instances, whatever its attributes. */
export const gauge = (instances, name) => readings(instances, name).reduce((sum, [, value]) => sum + value, 0);

/**
 * Return a gauge of what all instances of a service look at, their database and the bus: each tells the same. Summed up
 * are its sets of attributes; those with a `part` in their name only.
 */
export function common(instances, name, part = "") {
  const highest = new Map();
  for (const [key, value] of readings(instances, name))
    if (key.includes(part)) highest.set(key, Math.max(highest.get(key) ?? 0, value));
  return [...highest.values()].reduce((sum, value) => sum + value, 0);
}

const readings = (instances, name) =>
  instances.flatMap((instance) =>
    Object.entries(instance.gauges ?? {}).filter(([key]) => key === name || key.startsWith(`${name}{`)),
  );

/**
 * Return those of `keepers` that may know of what a gauge counts: all but who tells of gauges and not of this one. Nobody
 * tells who is away, or shares a process with others, in whose name that tells.
 */
export function thoseWith(fleet, keepers, name) {
  const found = services(fleet);
  return keepers.filter((each) => {
    const { instances = [] } = found.get(each) ?? {};
    return !instances.some((one) => one.gauges) || readings(instances, name).length > 0;
  });
}

/** Return the circuit breakers that are not closed, of all instances of a service. */
export const breakers = (service) =>
  service.instances.flatMap((instance) =>
    (instance.vitals?.breakers ?? []).map((one) => ({ ...one, by: instance.name })),
  );
