// The colour of a service: the same wherever it is named, for any name, and never the only sign.

const SLOTS = 12;

/** Return the CSS properties that give an element the colour of a service. */
export const tint = (service = "") => ({ "--hue": String(hue(service)) });

// A multiplier under which the services we have fall into slots of their own.
function hue(service) {
  let sum = 0;
  for (const letter of service) sum = (sum * 155 + letter.charCodeAt(0)) % 65521;
  return 20 + (sum % SLOTS) * (360 / SLOTS);
}
