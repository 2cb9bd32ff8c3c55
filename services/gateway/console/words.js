// Names and numbers of the contracts as people read them.

/** Return `1 order`, `3 orders`. */
export const count = (number, noun) => `${number} ${noun}${Number(number) === 1 ? "" : "s"}`;

/** Return how many a list holds that was asked for at most so many: `1000+`. */
export const atLeast = (number, most) => (number < most ? String(number) : `${most}+`);

/** Return how many a second: one decimal below ten. */
export const rate = (number = 0) =>
  number === 0
    ? "0"
    : number < 0.05
      ? "<0.1"
      : number < 9.95
        ? number.toFixed(1)
        : Math.round(number).toLocaleString("en");

/** Return an enum's value in words: `STATE_PLACED` of prefix `STATE` is `placed`. */
export const enumWord = (value = "", prefix = "STATE") =>
  value.replace(`${prefix}_`, "").toLowerCase().replaceAll("_", " ");

/** Return a step's or account's name in words. */
export const plain = (name = "") => name.replaceAll("_", " ");

/** Return the last part of a name: `mercato.orders.v1.OrderService/PlaceOrder` is `PlaceOrder`. */
export const last = (name = "") => name.slice(Math.max(name.lastIndexOf("/"), name.lastIndexOf(".")) + 1);

/** Return a method as it is spoken of: the RPC's name, or the HTTP operation as it is. */
export const method = (name = "–") => (name.includes(" ") ? name : last(name));

/** Return the id in a resource name: `orders/0193…` is `0193…`. */
export const id = (name = "") => name.slice(name.indexOf("/") + 1);

/** Return an id so short that people can tell it from others: UUIDs differ at their end. */
export const brief = (name) => (id(name).length > 14 ? `…${id(name).slice(-8)}` : id(name));

/** Return a number with its thousands set apart. */
export const grouped = (number = 0) => Number(number).toLocaleString("en");
