// Why a trace is kept.

import { badge } from "./parts.js";
import { enumWord } from "./words.js";

export const KEEPS = {
  KEEP_ERROR: ["bad", "refused"],
  KEEP_SLOW: ["warn", "current"],
  KEEP_COMPENSATION: ["warn", "undone"],
  KEEP_SAMPLED: ["quiet", ""],
  KEEP_UNDECIDED: ["quiet", ""],
};

/** The reason as a badge. */
export function keepBadge(keep) {
  const [tone, sign] = KEEPS[keep] ?? ["quiet", ""];
  return badge(tone, sign, enumWord(keep, "KEEP") || "–");
}
