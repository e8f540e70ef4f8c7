// The page's words and how numbers, lengths of time and moments are written, in the language chosen.

let words = {};
let language = "en";
let zone = "UTC";
let moments = {};

/** The language asked for in the address, chosen here before, or wanted by the browser; else English. */
export function preferred() {
  const wanted = [new URLSearchParams(location.search).get("lang"), remembered(), ...navigator.languages];
  for (const tag of wanted) {
    if (/^zh/i.test(tag ?? "")) return "zh-CN";
    if (/^en/i.test(tag ?? "")) return "en";
  }
  return "en";
}

function remembered() {
  try {
    return localStorage.getItem("waitline.language");
  } catch {
    return null; // storage is closed to this page; it then asks the browser each time
  }
}

export function remember(chosen) {
  try {
    localStorage.setItem("waitline.language", chosen);
  } catch {
    // as above
  }
}

/** Loads a catalog and makes it the page's language. */
export async function speak(chosen) {
  const answer = await fetch(`/static/words/${chosen}.json`, { credentials: "same-origin" });
  if (!answer.ok) throw new Error(`words/${chosen}.json: HTTP ${answer.status}`);
  words = await answer.json();
  language = chosen;
  moments = {};
  document.documentElement.lang = chosen;
}

export function has(key) {
  return Object.hasOwn(words, key);
}

/** The text of a key with its placeholders filled, as a string. */
export function t(key, values = {}) {
  return pieces(key).map((piece) => (piece.name ? values[piece.name] : piece.text)).join("");
}

/** The same, into an element: values may be elements, which are put in their places. */
export function weave(element, key, values) {
  element.replaceChildren(...pieces(key).map((piece) => (piece.name ? values[piece.name] : piece.text)));
}

function pieces(key) {
  const parts = (words[key] ?? key).split(/\{([a-z_]+)\}/);
  return parts.map((part, i) => (i % 2 ? { name: part } : { text: part }));
}

/** Milliseconds as m:ss or h:mm:ss, as wallboards show them. */
export function clock(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const two = (n) => String(n).padStart(2, "0");
  const [hours, minutes, seconds] = [Math.floor(s / 3600), Math.floor(s / 60) % 60, s % 60];
  return hours ? `${hours}:${two(minutes)}:${two(seconds)}` : `${minutes}:${two(seconds)}`;
}

/** Milliseconds in words, in the two largest units. */
export function inWords(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return t("duration.s", { s });
  const m = Math.floor(s / 60);
  if (m < 60) return s % 60 ? t("duration.min-s", { m, s: s % 60 }) : t("duration.min", { m });
  const h = Math.floor(m / 60);
  return m % 60 ? t("duration.h-min", { h, m: m % 60 }) : t("duration.h", { h });
}

export function number(value) {
  return value.toLocaleString(language);
}

export function percent(value) {
  const form = { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 };
  return value === null ? t("none") : (value / 100).toLocaleString(language, form);
}

/** Moments are written in this time zone; in UTC where the browser does not know it. */
export function setZone(name) {
  if (name === zone) return;
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    zone = name;
  } catch {
    zone = "UTC";
  }
  moments = {};
}

export function timeOfDay(ms) {
  moments.time ??= new Intl.DateTimeFormat(language, { timeZone: zone, timeStyle: "medium", hourCycle: "h23" });
  return moments.time.format(ms);
}

export function dateAndTime(ms) {
  moments.both ??= new Intl.DateTimeFormat(language, {
    timeZone: zone, weekday: "short", day: "numeric", month: "short", year: "numeric",
    hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
  });
  return moments.both.format(ms);
}

/** "2026-11-22", a date without a time zone, as a date people read. */
export function day(text) {
  const [year, month, date] = text.split("-").map(Number);
  return new Intl.DateTimeFormat(language, { timeZone: "UTC", dateStyle: "full" }).format(Date.UTC(year, month - 1, date));
}

/** The browser's own time, for what concerns the connection and not the log. */
export function here(moment) {
  return new Intl.DateTimeFormat(language, { timeStyle: "medium", hourCycle: "h23" }).format(moment);
}
