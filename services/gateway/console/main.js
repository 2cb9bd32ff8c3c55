// Composition root of the console: its views, the way between them, and the beat by which they are brought up to date.

import { Failure, Spare, get } from "./api.js";
import { h, show } from "./dom.js";
import { letters } from "./letters.js";
import { logs } from "./logs.js";
import { map } from "./map.js";
import { nowhere } from "./nowhere.js";
import { objectives } from "./objectives.js";
import { orders } from "./orders.js";
import { heading, notice, nothing } from "./parts.js";
import { policies } from "./policies.js";
import { pulse } from "./pulse.js";
import { href, parse } from "./router.js";
import { sagas } from "./sagas.js";
import { order } from "./story.js";
import { themeButton } from "./theme.js";
import { trace } from "./trace.js";
import { traces } from "./traces.js";

const VIEWS = { map, orders, sagas, "dead-letters": letters, traffic: policies, objectives, traces, logs };
const DETAILS = { orders: order, traces: trace };
const BEAT_MS = 1000;
const AFTER_FAILURE_MS = 3000;
const AGAIN = " This page asks again until it is told.";

function start() {
  const page = { nav: byId("nav"), view: byId("view"), pulse: byId("pulse") };
  let visit = { end() {}, draw() {} };
  const arrive = () => {
    visit.end();
    visit = new Visit(page, visit);
    visit.stay();
  };
  history.scrollRestoration = "manual"; // what was scrolled to is there only once it was read again
  addEventListener("scrollend", () => history.replaceState({ top: scrollY }, ""));
  addEventListener("hashchange", arrive);
  addEventListener("resize", () => visit.draw());
  byId("skip").onclick = (event) => (event.preventDefault(), page.view.focus());
  arrive();
}

/** The page at one place, until it goes to another. */
class Visit {
  constructor(page, before) {
    this.page = page;
    this.place = parse(location.hash);
    this.view = viewOf(this.place);
    const same = before.view === this.view && before.place.argument === this.place.argument;
    this.data = same ? before.data : undefined;
    this.state = same ? before.state : {};
    this.failure = null;
    this.top = same ? 0 : (history.state?.top ?? 0);
    this.left = new AbortController();
    this.ask = (path, query) => get(path, query, this.left.signal);
    this.spare = new Spare(this.ask);
    this.draw();
    if (!same && before.view) arriveAt(page.view);
  }

  end() {
    this.left.abort();
  }

  async stay() {
    const { signal } = this.left;
    const beat = new Beat(signal);
    while (!signal.aborted) {
      try {
        this.data = await this.#read();
        if (signal.aborted) return;
        [this.failure, this.time] = [null, Date.now()];
      } catch (error) {
        if (signal.aborted) return;
        this.failure = asFailure(error);
      }
      this.draw();
      this.#back();
      await beat.next(this.failure ? AFTER_FAILURE_MS : (this.view.beat_ms?.(this.data) ?? BEAT_MS));
    }
  }

  #read() {
    const { spare, place, data: before } = this;
    spare.lacking = false;
    return this.view.load({ get: this.ask, spare: (path, query) => spare.ask(path, query), place, before });
  }

  draw() {
    const { view, place, state } = this;
    const title = view.title(place);
    document.title = `${title} · Mercato`;
    const tell = {
      place,
      state,
      width: innerWidth(this.page.view),
      redraw: () => this.draw(),
    };
    const content = this.#content(tell);
    show(this.page.view, this.failure && problem(this.failure, view, title, content), content);
    show(this.page.nav, navigation(place));
    show(this.page.pulse, pulse(this.failure, this.time, this.spare.lacking), themeButton(tell.redraw));
  }

  /** Return what the view shows; null where there is nothing to show. */
  #content(tell) {
    if (this.data === undefined) return this.failure ? null : h("p", { class: "nothing" }, "Reading …");
    try {
      return this.view.render(this.data, tell);
    } catch (error) {
      this.failure = asFailure(error);
      return null;
    }
  }

  /** Scroll to where a person was who comes back, once there is something to see. */
  #back() {
    if (this.data === undefined || !this.top) return;
    scrollTo(0, this.top);
    this.top = 0;
  }
}

/** Return what went wrong as a failure: a fault of ours too is said, and the page goes on. */
function asFailure(error) {
  if (error instanceof Failure) return error;
  console.error(error);
  return new Failure(0, `This page has a fault: ${error.message}.`);
}

function viewOf({ view, argument }) {
  const views = argument ? DETAILS : VIEWS;
  return Object.hasOwn(views, view) ? views[view] : nowhere;
}

/** Waits between two readings, and for as long as nobody looks. */
class Beat {
  constructor(signal) {
    this.signal = signal;
    this.last = performance.now();
  }

  async next(ms) {
    await sleep(Math.max(200, ms - (performance.now() - this.last)), this.signal);
    if (document.hidden) await once(document, "visibilitychange", this.signal);
    this.last = performance.now();
  }
}

const sleep = (ms, signal) =>
  new Promise((done) => {
    const over = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", over); // a page may stay open for days
      done();
    };
    const timer = setTimeout(over, ms);
    signal.addEventListener("abort", over);
  });

const once = (target, event, signal) =>
  new Promise((done) => {
    const over = () => {
      target.removeEventListener(event, over);
      signal.removeEventListener("abort", over);
      done();
    };
    target.addEventListener(event, over);
    signal.addEventListener("abort", over);
  });

function arriveAt(view) {
  scrollTo(0, 0);
  view.focus({ preventScroll: true });
}

/** Say what is wrong, under the view's heading where it has nothing to show. */
function problem(failure, view, title, content) {
  if (content) return notice(failure.message, " What is shown is from before.");
  if (failure.final) return [heading(title), nothing(failure.message)];
  return [heading(title), notice(failure.status >= 500 && view.without ? `${view.without} ` : "", failure.message, AGAIN)];
}

const navigation = (place) =>
  Object.entries(VIEWS).map(([name, view]) =>
    h("a", { href: href(name), "aria-current": name === place.view && "page" }, view.title({ view: name })),
  );

function innerWidth(element) {
  const { paddingLeft, paddingRight } = getComputedStyle(element);
  return element.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight);
}

const byId = (id) => document.getElementById(id);

start();
