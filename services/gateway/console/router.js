// Where the page is: `#/orders/0193…?span=00f0` is the view `orders`, the argument `0193…` and a query.

/** Return what a hash says. */
export function parse(hash) {
  const [path, query] = hash.replace(/^#\/?/, "").split("?");
  const [view, ...rest] = path.split("/").map(decoded);
  return { view: view || "map", argument: rest.join("/"), query: Object.fromEntries(new URLSearchParams(query)) };
}

/** Return a part of a hash as it is meant; what means nothing stays as it is. */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Return the hash of a place. */
export function href(view, argument = "", query = {}) {
  const said = Object.entries(query).filter(([, value]) => value);
  const path = argument ? `${view}/${encodeURIComponent(argument)}` : view;
  return `#/${path}${said.length ? `?${new URLSearchParams(said)}` : ""}`;
}

/** Change the query of the place where the page is, without another entry in the history. */
export function refine(place, query) {
  location.replace(href(place.view, place.argument, { ...place.query, ...query }));
}
