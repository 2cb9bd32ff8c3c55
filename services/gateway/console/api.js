// Asks the gateway. An answer is the JSON of its proto; an error is a Failure with google.rpc.Status in it.

const PATIENCE_MS = 5000;
const OURSELVES = { "X-Mercato-Caller": "console" };

/** A question that was not answered as asked. `status` is HTTP's, 0 where no answer came. */
export class Failure extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  /** Whether what was asked for is not there or cannot be, so that to ask again changes nothing. */
  get final() {
    return this.status >= 400 && this.status < 500;
  }
}

/** Read a resource; `query` holds snake_case fields of the request, empty ones are left out. */
export const get = (path, query, signal) => ask("GET", path + search(query), undefined, signal);

/** Call a method that changes something. */
export const post = (path, body) => ask("POST", path, body);

/** Return the answer, or null where it is missing or cannot be had now: for what a view can do without. */
export async function perhaps(answer) {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof Failure) return null;
    throw error;
  }
}

async function ask(method, path, body, signal) {
  const patience = AbortSignal.timeout(PATIENCE_MS);
  try {
    const answer = await fetch(path, {
      method,
      headers: {
        ...OURSELVES,
        Traceparent: untraced(),
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, patience]) : patience,
    });
    const json = await answer.json();
    if (!answer.ok) throw new Failure(answer.status, json.message || answer.statusText);
    return json;
  } catch (error) {
    if (error instanceof Failure || signal?.aborted) throw error;
    throw new Failure(0, patience.aborted ? "No answer in time." : "The gateway does not answer.");
  }
}

/** A trace that is not recorded: who looks leaves no traces among those looked at. https://www.w3.org/TR/trace-context/ */
function untraced() {
  const digits = [...crypto.getRandomValues(new Uint8Array(24))]
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");
  return `00-${digits.slice(0, 32)}-${digits.slice(32)}-00`;
}

function search(query = {}) {
  const fields = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) if (one) fields.append(name, one);
  }
  return fields.size ? `?${fields}` : "";
}
