// Makes elements, and brings a part of the page to what it should be without touching what is the same: focus,
// scrolling, selections and what a person typed stay.

const SVG = "http://www.w3.org/2000/svg";
const HANDLERS = ["onclick", "onkeydown", "onchange", "onfocus", "oninput", "onsubmit"];

/** Return an HTML element. Properties: attributes, `on…` handlers, and `style` as an object of CSS properties. */
export const h = (tag, properties, ...children) => fill(document.createElement(tag), properties, children);

/** Return an SVG element, as `h` does. */
export const svg = (tag, properties, ...children) => fill(document.createElementNS(SVG, tag), properties, children);

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (HANDLERS.includes(name)) element[name] = value;
    else if (name === "style") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

/** Make the children of `parent` like `nodes`; elements with a `data-key` keep their identity when they move. */
export function show(parent, ...nodes) {
  const next = document.createDocumentFragment();
  next.append(...nodes.flat(Infinity).filter(Boolean));
  children(parent, next);
}

function children(parent, next) {
  const keyed = new Map([...parent.children].filter(key).map((child) => [key(child), child]));
  let at = parent.firstChild;
  for (const wanted of [...next.childNodes]) {
    const same = key(wanted) ? keyed.get(key(wanted)) : at && !key(at) ? at : null;
    if (same && alike(same, wanted)) {
      if (same === at) at = at.nextSibling;
      else parent.insertBefore(same, at);
      become(same, wanted);
    } else {
      parent.insertBefore(wanted, at);
    }
  }
  while (at) {
    const rest = at.nextSibling;
    at.remove();
    at = rest;
  }
}

const key = (node) => node.dataset?.key;
const alike = (old, next) => old.nodeType === next.nodeType && old.nodeName === next.nodeName && key(old) === key(next);

function become(old, next) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  const typed = old.getAttribute("value") === next.getAttribute("value"); // what stands there is the person's
  attributes(old, next);
  for (const handler of HANDLERS) if (old[handler] !== next[handler]) old[handler] = next[handler];
  children(old, next);
  if (old.nodeName === "SELECT" && old !== document.activeElement) old.value = next.value;
  if (old.nodeName === "INPUT" && !typed) old.value = next.value;
}

function attributes(old, next) {
  for (const { name } of [...old.attributes]) {
    const persons = name === "open" && old.nodeName === "DETAILS";
    if (!next.hasAttribute(name) && !persons) old.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (old.getAttribute(name) === value) continue;
    if (name === "style")
      old.style.cssText = next.style.cssText; // as an attribute the page's policy forbids it
    else old.setAttribute(name, value);
  }
}
