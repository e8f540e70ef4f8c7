// The live page: shows each view of the pool that the server sends, and lets waits run on between two views.

import {
  clock, dateAndTime, day, has, here, inWords, number, percent, preferred, remember, setZone, speak, t, timeOfDay, weave,
} from "./words.js";
import { follow } from "./stream.js";

const STATES = ["idle", "offered", "talking", "wrap-up", "not-ready"];
const CHANNELS = ["call", "chat", "sms"];
const AGENTS_SHOWN = 300;
const RUN_ON_MS = 3_000; // a simulated log may stop at any moment: so long its clock is carried on without a word
const RATE_OVER_MS = 8_000;

const $ = (id) => document.getElementById(id);
const address = new URLSearchParams(location.search);

let pools = [];
let pool = null;
let line = null;
let view = null; // the last one, and when it came
let came = 0;
let connection = { state: "connecting", since: 0 };
let samples = []; // [when it came, log time] of the latest views: how fast a simulated log runs
let shownAt = 0;
let only = "all";
let tokenOffered = address.has("token"); // and was wrong, or the server would have sent us on to the page without it

// ---- elements

function make(tag, className = "", ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

function icon(name, label = "") {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.classList.add("icon");
  if (label) {
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", label);
    const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
    title.textContent = label;
    svg.append(title);
  } else {
    svg.setAttribute("aria-hidden", "true");
  }
  svg.append(use);
  return svg;
}

/** A number of the API: the element shows it as people read it and keeps it as it came, in data-raw. */
function put(element, raw, text) {
  const kept = raw === null || raw === undefined ? "" : String(raw);
  if (element.dataset.raw !== kept) element.dataset.raw = kept;
  write(element, text);
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function value(name, attributes = {}, tag = "span") {
  const element = make(tag, "n");
  Object.assign(element.dataset, { value: name, ...attributes });
  return element;
}

const overall = new Map();

/** The element for a number of the whole pool: where the page has it, or made once, to be woven into a text. */
function ofPool(name) {
  if (!overall.has(name)) {
    overall.set(name, document.querySelector(`[data-value="${name}"]:not([data-queue])`) ?? value(name, {}, "b"));
  }
  return overall.get(name);
}

/** A length of time that goes on: it shows the time since `since` of the log's clock. */
function running(element, since, raw) {
  if (raw !== undefined) element.dataset.raw = String(raw);
  element.dataset.since = since;
  write(element, clock(shownAt - since));
}

function still(element, raw, text) {
  delete element.dataset.since;
  put(element, raw, text);
}

/** Makes the children of `list` those of `items`, in this order, keeping the elements of those that stay. */
function keep(list, items, key, create, update) {
  const had = new Map([...list.children].map((child) => [child.dataset.key, child]));
  let next = list.firstElementChild;
  for (const item of items) {
    const id = key(item);
    let child = had.get(id);
    if (child) had.delete(id);
    else {
      child = create(item);
      child.dataset.key = id;
    }
    if (child === next) next = next.nextElementSibling;
    else list.insertBefore(child, next);
    update(child, item);
  }
  for (const child of had.values()) child.remove();
}

// ---- one view

function show() {
  if (!view) return;
  const { queues, agents, figures, decisions } = view;
  setZone(figures.time_zone);
  shownAt = Math.max(shownAt, view.at); // carried on a little too far, it waits until the log has caught up
  $("simulated").hidden = view.time === "real";
  showTiles(queues, figures);
  showQueues(queues, figures);
  showAgents(agents);
  showDecisions(decisions);
  tickNow();
  const position = document.querySelector("[data-position]");
  position.dataset.position = view.position;
  write(position, number(view.position));
  $("board").classList.remove("is-empty");
}

function showTiles(queues, figures) {
  const waiting = queues.reduce((sum, q) => sum + q.waiting, 0);
  const offered = queues.reduce((sum, q) => sum + q.offered, 0);
  const longest = queues.reduce((most, q) => (q.longest_wait_ms > (most?.longest_wait_ms ?? -1) && q.waiting ? q : most), null);
  const { total } = figures;
  const level = total.service_level;
  put(ofPool("waiting"), waiting, number(waiting));
  weave($("tile-offered"), "tile.offered-of-waiting", { n: ofPool("offered") });
  put(ofPool("offered"), offered, number(offered));
  $("tile-offered").hidden = offered === 0;
  if (longest) running(ofPool("longest_wait_ms"), view.at - longest.longest_wait_ms, longest.longest_wait_ms);
  else still(ofPool("longest_wait_ms"), 0, clock(0));
  write($("tile-longest-where"), longest ? t("tile.in-queue", { queue: longest.name }) : t("tile.nobody-waits"));
  put(ofPool("figures.total.answered"), total.answered, number(total.answered));
  weave($("tile-arrived"), "tile.of-arrived", { n: ofPool("figures.total.arrived") });
  put(ofPool("figures.total.arrived"), total.arrived, number(total.arrived));
  put(ofPool("figures.total.abandoned"), total.abandoned, number(total.abandoned));
  weave($("tile-timed-out"), "tile.timed-out", { n: ofPool("figures.total.timed_out") });
  put(ofPool("figures.total.timed_out"), total.timed_out, number(total.timed_out));
  $("tile-timed-out").hidden = total.timed_out === 0;
  weave($("tile-turned-away"), "tile.turned-away", { n: ofPool("figures.total.turned_away") });
  put(ofPool("figures.total.turned_away"), total.turned_away, number(total.turned_away));
  $("tile-turned-away").hidden = total.turned_away === 0;
  put(ofPool("figures.total.mean_wait_ms"), total.mean_wait_ms, total.mean_wait_ms === null ? t("none") : clock(total.mean_wait_ms));
  put(ofPool("figures.total.service_level.percent"), level.percent, percent(level.percent));
  const seconds = level.threshold_s === null ? t("formula.any") : inWords(level.threshold_s * 1000);
  const [within, answered, after] = ["answered_within", "answered", "abandoned_after"].map((name) => {
    const element = ofPool(`figures.total.service_level.${name}`);
    put(element, level[name], number(level[name]));
    return element;
  });
  weave($("numerator"), "formula.numerator", { within, t: seconds });
  weave($("denominator"), "formula.denominator", { answered, after, t: seconds });
  const hints = [];
  if (level.threshold_s === null) hints.push(t("formula.any.hint"));
  if (total.timed_out) hints.push(t("formula.timed-out", { t: seconds }));
  write($("formula-hint"), hints.join(t("sentence.join")));
  write($("day"), t("page.day", { day: day(figures.day), zone: figures.time_zone }));
}

// ---- queues

function showQueues(queues, figures) {
  const today = new Map(figures.queues.map((f) => [f.queue_id, f]));
  $("queues-none").hidden = queues.length > 0;
  keep($("queue-rows"), queues, (q) => q.queue_id, queueRow, (row, q) => fillQueue(row, q, today.get(q.queue_id)));
}

function queueRow({ queue_id }) {
  const row = make("tr");
  row.setAttribute("role", "row");
  const own = (name, tag = "span") => value(name, { queue: queue_id }, tag);
  const cell = (word, className, ...children) => {
    const td = make("td", className, ...children);
    td.setAttribute("role", "cell");
    td.dataset.labelWord = word;
    return td;
  };
  const name = make("th", "", make("span", "queue-name"), make("small", "doors"));
  name.scope = "row";
  name.setAttribute("role", "rowheader");
  const channels = make("span", "channels");
  for (const channel of CHANNELS) {
    channels.append(make("span", `channel ${channel}`, icon(channel, t(`channel.${channel}`)), own(`waiting_by_channel.${channel}`)));
  }
  const late = make("span", "late", icon("late"), make("span", "hidden"));
  const within = make("small", "within");
  row.append(
    name,
    cell("queues.waiting", "waiting", own("waiting", "b"), channels),
    cell("queues.longest-wait", "longest", own("longest_wait_ms"), late),
    cell("queues.talking", "", own("talking")),
    cell("queues.agents", "ready", own("agents_idle"), " / ", own("agents_ready")),
    cell("queues.answered", "today", own("figures.answered")),
    cell("queues.abandoned", "", own("figures.abandoned")),
    cell("queues.mean-wait", "", own("figures.mean_wait_ms")),
    cell("queues.service-level", "level", own("figures.service_level.percent"), within),
  );
  return row;
}

function fillQueue(row, queue, figures) {
  const at = (name) => row.querySelector(`[data-value="${name}"]`);
  for (const td of row.querySelectorAll("[data-label-word]")) td.dataset.label = t(td.dataset.labelWord);
  write(row.querySelector(".queue-name"), queue.name);
  write(row.querySelector(".doors"), ofDoors(queue.doors));
  for (const name of ["waiting", "talking", "agents_idle", "agents_ready"]) put(at(name), queue[name], number(queue[name]));
  row.classList.toggle("somebody-waits", queue.waiting > 0);
  for (const channel of CHANNELS) {
    const n = queue.waiting_by_channel[channel];
    const element = at(`waiting_by_channel.${channel}`);
    put(element, n, number(n));
    element.parentElement.hidden = n === 0;
    element.parentElement.querySelector("title").textContent = t(`channel.${channel}`);
    element.previousElementSibling.setAttribute("aria-label", t(`channel.${channel}`));
  }
  const longest = at("longest_wait_ms");
  if (queue.waiting) running(longest, view.at - queue.longest_wait_ms, queue.longest_wait_ms);
  else still(longest, queue.longest_wait_ms, t("none"));
  const level = figures?.service_level;
  const threshold = level?.threshold_s ?? null;
  const late = queue.waiting > 0 && threshold !== null && queue.longest_wait_ms > threshold * 1000;
  row.classList.toggle("late", late);
  const mark = row.querySelector(".longest .late");
  const hint = late ? t("queues.over-threshold", { t: inWords(threshold * 1000) }) : "";
  mark.hidden = !late;
  mark.title = hint;
  write(mark.querySelector(".hidden"), hint);
  for (const name of ["answered", "abandoned"]) put(at(`figures.${name}`), figures?.[name] ?? 0, number(figures?.[name] ?? 0));
  const mean = figures?.mean_wait_ms ?? null;
  put(at("figures.mean_wait_ms"), mean, mean === null ? t("none") : clock(mean));
  put(at("figures.service_level.percent"), level?.percent ?? null, percent(level?.percent ?? null));
  write(row.querySelector(".within"), threshold === null ? "" : t("queues.within", { t: inWords(threshold * 1000) }));
}

/** What its opening hours come to now: closed, or closed for some channels, and until when; nothing while it is open. */
function ofDoors(doors) {
  const closed = Object.entries(doors).filter(([, door]) => !door.open);
  const until = (door) => (door.next_at === null ? t("none") : dateAndTime(door.next_at));
  if (closed.length && closed.length === CHANNELS.length && closed.every(([, door]) => door.next_at === closed[0][1].next_at)) {
    return t("doors.closed", { when: until(closed[0][1]) });
  }
  return closed.map(([channel, door]) => t("doors.channel-closed", { channel: t(`channel.${channel}`), when: until(door) })).join(t("sentence.join"));
}

// ---- agents

function showAgents({ counts, agents }) {
  const all = STATES.reduce((sum, state) => sum + counts[state], 0); // of a large pool the view names only some agents
  const buttons = [["all", all], ...STATES.map((state) => [state, counts[state]])];
  keep($("states"), buttons, ([state]) => state, stateButton, (button, [state, n]) => {
    button.setAttribute("aria-pressed", String(only === state));
    write(button.querySelector(".label"), state === "all" ? t("agents.all") : t(`state.${state}`));
    put(button.querySelector("b"), n, number(n));
  });
  const wanted = agents.filter((agent) => only === "all" || agent.state === only);
  const collator = new Intl.Collator(document.documentElement.lang, { numeric: true });
  wanted.sort((a, b) => collator.compare(a.name, b.name) || (a.agent_id < b.agent_id ? -1 : 1));
  const shown = wanted.slice(0, AGENTS_SHOWN);
  keep($("agent-cards"), shown, (agent) => agent.agent_id, agentCard, fillAgent);
  const more = (only === "all" ? all : counts[only]) - shown.length;
  $("agents-none").hidden = shown.length + more > 0;
  write($("agents-none"), t(all ? "agents.none-in-state" : "agents.none"));
  $("agents-more").hidden = more === 0;
  write($("agents-more"), t("agents.more", { n: number(more) }));
}

function stateButton([state]) {
  const count = value(state === "all" ? "agents.counts" : `agents.counts.${state}`, {}, "b");
  const button = make("button", `state ${state}`, ...(state === "all" ? [] : [icon(state)]), make("span", "label"), " ", count);
  button.type = "button";
  button.addEventListener("click", () => {
    only = only === state ? "all" : state;
    if (view) showAgents(view.agents);
    tickNow();
  });
  return button;
}

function agentCard() {
  const state = make("span", "agent-state");
  return make("li", "agent", make("b", "agent-name"), make("span", "agent-since n"), state, make("span", "agent-contacts"));
}

function fillAgent(card, agent) {
  card.className = `agent ${agent.state}`;
  Object.assign(card.dataset, { agent: agent.agent_id, state: agent.state, raw: agent.state, value: "state" });
  write(card.querySelector(".agent-name"), agent.name);
  card.querySelector(".agent-name").title = agent.team ? `${agent.name} (${agent.team})` : agent.name;
  const since = card.querySelector(".agent-since");
  running(since, agent.since);
  const reason = agent.reason && (has(`not-ready.${agent.reason}`) ? t(`not-ready.${agent.reason}`) : agent.reason);
  const notes = [];
  if (agent.state === "not-ready" && reason) notes.push(reason);
  if (agent.state !== "not-ready" && agent.presence === "not-ready") notes.push(t("agents.not-ready-after"));
  const key = [document.documentElement.lang, agent.state, ...notes].join("|");
  const state = card.querySelector(".agent-state");
  if (state.dataset.key !== key) {
    state.dataset.key = key;
    state.replaceChildren(icon(agent.state), make("span", "label", t(`state.${agent.state}`)));
    if (notes.length) state.append(make("span", "agent-reason", notes.join(" · ")));
  }
  const chips = card.querySelector(".agent-contacts");
  const names = new Map(view.queues.map((q) => [q.queue_id, q.name]));
  const contacts = agent.contacts.map((c) => [c.channel, c.status, names.get(c.queue_id) ?? c.queue_id]);
  const held = JSON.stringify([document.documentElement.lang, agent.state, contacts]);
  if (chips.dataset.key !== held) {
    chips.dataset.key = held;
    chips.replaceChildren(
      ...contacts.map(([channel, status, queue]) => {
        const chip = make("span", "held", icon(channel, t(`channel.one.${channel}`)), make("span", "", queue));
        if (status !== agent.state) chip.append(icon(status, t(`state.${status}`))); // one of several contacts, in another state
        return chip;
      }),
    );
  }
}

// ---- decisions

function showDecisions(decisions) {
  $("decisions-none").hidden = decisions.length > 0;
  keep($("decision-rows"), decisions, (d) => d.id, decisionRow, fillDecision);
}

function decisionRow(decision) {
  const row = make("li", "decision");
  row.dataset.decision = decision.id;
  row.append(
    make("span", "outcome"),
    make("p", "sentence"),
    make("span", "about", icon(decision.channel, t(`channel.one.${decision.channel}`)), make("span", "contact"), " · ", make("span", "queue")),
    make("time", "when"),
  );
  return row;
}

function fillDecision(row, decision) {
  row.dataset.outcome = decision.outcome;
  const key = `${document.documentElement.lang} ${decision.outcome}`;
  const outcome = row.querySelector(".outcome");
  if (outcome.dataset.key !== key) {
    outcome.dataset.key = key;
    outcome.className = `outcome ${decision.outcome}`;
    outcome.replaceChildren(icon(decision.outcome), t(`outcome.${decision.outcome}`));
  }
  write(row.querySelector(".sentence"), unbroken(decision.sentence));
  write(row.querySelector(".contact"), decision.contact_id);
  write(row.querySelector(".queue"), decision.queue_name ?? decision.queue_id);
  const when = row.querySelector(".when");
  when.dateTime = new Date(decision.at).toISOString();
  write(when, timeOfDay(decision.at));
}

/** No line ends between a number and its unit. */
function unbroken(text) {
  return text.replace(/ (?=\d)|(?<=\d) /g, "\u00a0");
}

// ---- time between two views

/** What the log's clock shows now, as far as can be told: real time runs on, simulated time at the rate seen and not for long. */
function logNow() {
  const passed = connection.state === "live" ? performance.now() - came : 0;
  if (view.time === "real") return view.at + passed;
  const [first, last] = [samples[0], samples.at(-1)];
  const rate = samples.length > 1 && last[0] - first[0] > 500 ? (last[1] - first[1]) / (last[0] - first[0]) : 0;
  return view.at + Math.min(passed, RUN_ON_MS) * rate;
}

function tickNow() {
  if (!view) return;
  shownAt = Math.max(shownAt, logNow());
  for (const element of document.querySelectorAll("[data-since]")) write(element, clock(shownAt - Number(element.dataset.since)));
  write($("at"), dateAndTime(shownAt));
  $("at").dateTime = new Date(shownAt).toISOString();
}

// ---- connection

function take(news) {
  const restarted = view && news.position < view.position; // another log than before: nothing of it can be carried on
  view = news;
  came = performance.now();
  if (restarted) [samples, shownAt] = [[], 0];
  samples.push([came, news.at]);
  while (samples.length > 2 && came - samples[0][0] > RATE_OVER_MS) samples.shift();
  show();
  title();
}

function connected(state) {
  if (connection.state === state) return;
  connection = { state, since: Date.now() };
  samples = [];
  showConnection();
}

function showConnection() {
  const { state, since } = connection;
  $("connection").dataset.state = state;
  write($("connection"), t(`page.connection.${state}`, { time: here(since) }));
  const stale = state !== "live" && view;
  $("stale").hidden = !stale;
  $("board").classList.toggle("is-stale", state !== "live");
  if (stale) write($("stale"), t("page.connection.stale", { time: dateAndTime(view.at) }));
}

function title() {
  const waiting = view ? view.queues.reduce((sum, q) => sum + q.waiting, 0) : null;
  const where = pools.find((p) => p.pool === pool)?.name || pool || "";
  document.title = [waiting === null ? "" : `(${waiting})`, where, "Waitline"].filter(Boolean).join(" · ");
}

async function begin() {
  let answer;
  try {
    answer = await fetch("/v1/pools", { credentials: "same-origin" });
    if (answer.status === 401) return askToken();
    pools = answer.ok ? (await answer.json()).pools : [];
  } catch {
    pools = [];
  }
  if (!pools.length) {
    if (answer?.ok) write($("connection"), t("page.no-pools"));
    else connected("lost");
    setTimeout(begin, 2_000);
    return;
  }
  choose(pools.some((p) => p.pool === address.get("pool")) ? address.get("pool") : pools[0].pool);
}

function choose(chosen) {
  if (pool !== chosen) clear();
  pool = chosen;
  samples = [];
  shownAt = 0;
  $("token").hidden = true;
  document.body.classList.remove("asks-token");
  $("pool-choice").hidden = pools.length < 2;
  $("pool").replaceChildren(...pools.map((p) => new Option(p.name || p.pool, p.pool, false, p.pool === pool)));
  write($("pool-name"), pools.length < 2 ? pools[0].name || pools[0].pool : "");
  title();
  connected("connecting");
  listen();
}

/** Nothing of one pool is shown under the name of another. */
function clear() {
  view = null;
  $("board").classList.add("is-empty");
  const position = document.querySelector("[data-position]");
  position.dataset.position = "";
  write(position, t("none"));
}

function listen() {
  line?.close();
  line = follow(`/v1/pools/${encodeURIComponent(pool)}/live?lang=${document.documentElement.lang}`, {
    view: take,
    live: () => connected("live"),
    lost: () => connected("lost"),
    token: askToken,
  });
}

function askToken() {
  document.body.classList.add("asks-token");
  $("token").hidden = false;
  $("token-wrong").hidden = !tokenOffered;
  $("token").querySelector("[name=token]").select();
}

/** The server answers a right token with a cookie; a wrong one with the page and nothing else. */
async function offerToken(event) {
  event.preventDefault();
  const token = $("token").querySelector("[name=token]").value;
  try {
    await fetch(`/?${new URLSearchParams({ token })}`, { credentials: "same-origin" });
  } catch {
    // the server is away; begin() says so and asks again
  }
  tokenOffered = true;
  begin();
}

function inAddress(name, chosen) {
  address.set(name, chosen);
  history.replaceState(null, "", `?${address}`);
}

// ---- words

async function changeLanguage(chosen) {
  await speak(chosen);
  for (const element of document.querySelectorAll("[data-word]")) write(element, t(element.dataset.word));
  for (const element of document.querySelectorAll("[data-word-title]")) element.title = t(element.dataset.wordTitle);
  for (const element of document.querySelectorAll("[data-word-label]")) element.setAttribute("aria-label", t(element.dataset.wordLabel));
  for (const id of ["queue-rows", "agent-cards", "decision-rows"]) $(id).replaceChildren(); // made anew, labels and all
  $("language").value = chosen;
  showConnection();
  show();
}

$("language").addEventListener("change", async ({ target }) => {
  try {
    await changeLanguage(target.value);
  } catch {
    target.value = document.documentElement.lang; // the server is away; the language stays until it is back
    return;
  }
  remember(target.value);
  inAddress("lang", target.value);
  if (pool) listen(); // the sentences come from the server
});
$("token").addEventListener("submit", offerToken);
$("pool").addEventListener("change", (event) => {
  inAddress("pool", event.target.value);
  choose(event.target.value);
});

async function start() {
  if (tokenOffered) {
    address.delete("token"); // it need not stand in the history
    history.replaceState(null, "", String(address) ? `?${address}` : "/");
  }
  try {
    await changeLanguage(preferred());
  } catch {
    setTimeout(start, 2_000); // the server went away while the page was loading
    return;
  }
  await begin();
}

setInterval(tickNow, 250);
start();
