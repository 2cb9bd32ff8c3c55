// Composition root of the console: its views, the way between them, and the beat by which they are brought up to date.

import { Failure, get } from "./api.js";
import { h, show } from "./dom.js";
import { letters } from "./letters.js";
import { logs } from "./logs.js";
import { map } from "./map.js";
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
    this.view = (this.place.argument ? DETAILS[this.place.view] : VIEWS[this.place.view]) ?? map;
    const same = before.view === this.view && before.place.argument === this.place.argument;
    this.data = same ? before.data : undefined;
    this.state = same ? before.state : {};
    this.failure = null;
    this.left = new AbortController();
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
        const ask = (path, query) => get(path, query, signal);
        const data = await this.view.load({ get: ask, place: this.place, before: this.data });
        if (signal.aborted) return;
        [this.data, this.failure, this.time] = [data, null, Date.now()];
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof Failure)) throw error;
        this.failure = error;
      }
      this.draw();
      await beat.next(this.failure ? AFTER_FAILURE_MS : (this.view.beat_ms?.(this.data) ?? BEAT_MS));
    }
  }

  draw() {
    const { view, place, state, data, failure } = this;
    const title = view.title(place);
    document.title = `${title} · Mercato`;
    const tell = {
      place,
      state,
      width: innerWidth(this.page.view),
      redraw: () => this.draw(),
    };
    const content =
      data === undefined ? !failure && h("p", { class: "nothing" }, "Reading …") : view.render(data, tell);
    show(this.page.view, failure && problem(failure, title, data), content);
    show(this.page.nav, navigation(place));
    show(this.page.pulse, pulse(failure, this.time), themeButton(tell.redraw));
  }
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

function problem(failure, title, data) {
  if (data !== undefined) return notice(failure.message, " What is shown is from before.");
  return [heading(title), failure.final ? nothing(failure.message) : notice(failure.message, AGAIN)];
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
