// Asks the gateway. An answer is the JSON of its proto; an error is a Failure with google.rpc.Status in it.

const PATIENCE_MS = 5000;
const SPARE_MS = 1000;
const REST_MS = 3000;
const AGAIN = new Set([408, 429]); // https://www.rfc-editor.org/rfc/rfc9110#status.408, rfc6585#section-4
const OURSELVES = { "X-Mercato-Caller": "console" };

/** A question that was not answered as asked. `status` is HTTP's, also where an answer did not come in time; 0 where none can. */
export class Failure extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  /** Whether what was asked for is not there or cannot be, so that to ask again changes nothing. */
  get final() {
    return this.status >= 400 && this.status < 500 && !AGAIN.has(this.status);
  }
}

/** Read a resource; `query` holds snake_case fields of the request, empty ones are left out. */
export const get = (path, query, signal) => ask("GET", path + search(query), undefined, signal);

/** Call a method that changes something. */
export const post = (path, body) => ask("POST", path, body);

/**
 * Asks for what a view can do without: undefined is what is not there, null what cannot be had now. A question has a
 * second; one that takes longer goes on, meanwhile its last answer stands. Who did not answer is left alone for a while.
 */
export class Spare {
  #questions = new Map();

  /** Take what asks. */
  constructor(get) {
    this.get = get;
    this.lacking = false; // whether anything could not be had
  }

  async ask(path, query) {
    const one = this.#question(path + search(query));
    if (!one.open && performance.now() >= one.rests) {
      one.open = this.#answer(one, path, query).finally(() => (one.open = null));
      await Promise.race([one.open, new Promise((done) => setTimeout(done, SPARE_MS))]);
    }
    this.lacking ||= one.answer === null;
    return one.answer;
  }

  #question(key) {
    if (!this.#questions.has(key)) this.#questions.set(key, { answer: null, rests: 0, open: null });
    return this.#questions.get(key);
  }

  async #answer(one, path, query) {
    try {
      one.answer = await this.get(path, query);
    } catch (error) {
      one.answer = error.status === 404 ? undefined : null;
      if (one.answer === null) one.rests = performance.now() + REST_MS;
    }
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
    throw patience.aborted ? new Failure(504, "No answer in time.") : new Failure(0, "The gateway does not answer.");
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
