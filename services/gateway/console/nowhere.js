// What a hash leads to that is none of a view.

import { h } from "./dom.js";
import { heading, nothing } from "./parts.js";
import { href } from "./router.js";

export const nowhere = {
  title: () => "No such page",
  load: async () => null,
  beat_ms: () => 60_000,
  render: () => [heading("There is no such page"), nothing(h("a", { href: href("map") }, "The map"), " is where all begins.")],
};
