// google.type.Money as text, to the last nano and without floating point.

const SYMBOLS = { GBP: "£", EUR: "€", USD: "$" };
const NANOS = 1_000_000_000n;

/** Return `£1,234.50`; two decimals, more only where there are more. */
export function money(amount) {
  if (!amount) return "–";
  const nanos = total(amount);
  const size = nanos < 0n ? -nanos : nanos;
  const whole = (size / NANOS).toString().replace(/\B(?=(\d{3})+$)/g, ",");
  const part = (size % NANOS)
    .toString()
    .padStart(9, "0")
    .replace(/0{1,7}$/, "");
  const code = amount.currencyCode ?? "";
  return `${nanos < 0n ? "−" : ""}${SYMBOLS[code] ?? ""}${whole}.${part}${SYMBOLS[code] ? "" : ` ${code}`}`;
}

/** Return so many times an amount, as an amount. */
export function times(amount, count) {
  const nanos = total(amount) * BigInt(count);
  return { currencyCode: amount?.currencyCode, units: (nanos / NANOS).toString(), nanos: Number(nanos % NANOS) };
}

/** Whether an amount is nothing. */
export const isZero = (amount) => !amount || total(amount) === 0n;

const total = (amount) => BigInt(amount?.units ?? 0) * NANOS + BigInt(amount?.nanos ?? 0);
