// The status page. What comes from the server is put in as text, never as HTML.
const PERIOD = 1000, PAUSE = 2000, PATIENCE = 5000; // milliseconds
const SMOOTH = 5; // seconds over which a line is averaged
const MOST_CELLS = 60;
const SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);

let timer, asking = false, failed = false;
let lastAnswer = null;
let opened;
export const open = new Promise((resolve) => { opened = resolve; }); // the first figures have come

// --- Words

export const time = (seconds) =>
  seconds === null || seconds === undefined ? "–"
  : seconds < 0.0009995 ? `${Math.round(seconds * 1e6)} µs`
  : seconds < 0.9995 ? `${digits(seconds * 1e3)} ms`
  : seconds < 59.95 ? `${digits(seconds)} s`
  : span(seconds);

const digits = (value) => value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0);

const span = (seconds) => {
  const whole = Math.max(0, Math.round(seconds));
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const at = units.findIndex(([, size]) => whole >= size);
  if (at < 0) return "0 s";
  const [name, size] = units[at];
  const rest = units[at + 1] && Math.floor((whole % size) / units[at + 1][1]);
  return `${Math.floor(whole / size)} ${name}` + (rest ? ` ${rest} ${units[at + 1][0]}` : "");
};

const ago = (seconds) =>
  seconds < 2 ? "now" : seconds < 60 ? `${Math.floor(seconds)} s` : seconds < 3600 ? `${Math.floor(seconds / 60)} min`
  : seconds < 86400 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} d`;

const count = (value) => value.toLocaleString("en");
const rate = (value) => value === 0 ? "0" : value < 0.095 ? value.toFixed(2) : value < 9.95 ? value.toFixed(1) : count(Math.round(value));
const percent = (share) => share > 0 && share < 0.01 ? "less than 1 %" : `${Math.round(share * 100)} %`;
const sum = (values) => values.reduce((total, value) => total + value, 0);
const some = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;

// --- Elements

export const el = (name, attributes, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};

// Only a change is written: a text that somebody selects or hears read is left alone.
export const say = (id, text) => { if ($(id).textContent !== text) $(id).textContent = text; };

const changed = new Map();
const unlessSame = (name, value, draw) => {
  const text = JSON.stringify(value);
  if (changed.get(name) === text) return;
  changed.set(name, text);
  draw();
};

// --- Lines

const average = (values) => values.map((_, at) => {
  const part = values.slice(Math.max(0, at + 1 - SMOOTH), at + 1).filter((value) => value !== null);
  return part.length ? sum(part) / part.length : null;
});

// A path through all values; it is broken where there are none for a while.
const path = (values, most) => {
  let text = "", last = -Infinity;
  values.forEach((value, at) => {
    if (value === null) return;
    const point = `${at} ${(46 - 42 * value / most).toFixed(1)}`;
    text += at - last > 12 ? `M${point}h.01` : `L${point}`;
    last = at;
  });
  return text;
};

const draw = (id, label, lines) => {
  const most = Math.max(1e-9, ...lines.flatMap(([, values]) => values.filter((value) => value !== null)));
  const length = lines[0][1].length;
  const picture = $(id);
  picture.setAttribute("viewBox", `0 0 ${length} 48`);
  picture.setAttribute("preserveAspectRatio", "none");
  picture.setAttribute("aria-label", label);
  picture.replaceChildren(...lines.flatMap(([kind, values, filled]) => {
    const line = path(values, most);
    const shapes = filled && line ? [[`${line}V48H${values.findIndex((value) => value !== null)}Z`, `area ${kind}`]] : [];
    return [...shapes, [line, kind]].map(([d, name]) => {
      const shape = document.createElementNS(SVG, "path");
      shape.setAttribute("d", d);
      shape.setAttribute("class", name);
      return shape;
    });
  }));
};

// --- Parts of the page

const WORDS = {
  healthy: ["Healthy", "Scripts can run."],
  degraded: ["Degraded", "Scripts can run, but:"],
  unhealthy: ["Unhealthy", "Scripts cannot run:"],
  gone: ["No answer", ""],
  closed: ["Locked", "The figures need an API key."],
};

const verdict = (state, reasons, meaning = WORDS[state][1]) => unlessSame("health", [state, reasons, meaning], () => {
  $("health").dataset.state = state;
  say("verdict", WORDS[state][0]);
  say("meaning", meaning);
  $("reasons").replaceChildren(...reasons.map((reason) => el("li", {}, reason)));
  document.title = `${WORDS[state][0]} · Script executor`;
});

const SAMPLES = []; // of running and waiting, one a second, since this page is there
let sampled = 0;

const sample = (running, waiting, most) => {
  const now = Date.now();
  const missed = sampled ? Math.min(most, Math.round((now - sampled) / 1000) - 1) : 0;
  for (let at = 0; at < missed; at++) SAMPLES.push([null, null]);
  SAMPLES.push([running, waiting]);
  SAMPLES.splice(0, SAMPLES.length - most);
  sampled = now;
};

const showFigures = ({ rates, running, waiting }) => {
  const ten = (values) => sum(values.slice(-10)) / 10;
  const most = (values) => rate(Math.max(...values));
  const minutes = `in ${Math.round(rates.seconds / 60)} minutes`;

  const runs = average(rates.runs);
  $("runs").replaceChildren(rate(ten(rates.runs)), el("small", {}, " / s"));
  say("runs-note", `${count(sum(rates.runs))} ${minutes}`);
  draw("runs-line", `Runs a second over five minutes, at most ${most(runs)}`, [["good", runs, true]]);

  const bad = average(rates.failed), refused = average(rates.refused);
  $("failures").replaceChildren(rate(ten(rates.failed) + ten(rates.refused)), el("small", {}, " / s"));
  const [allBad, allRefused] = [sum(rates.failed), sum(rates.refused)];
  const told = [allBad && `${count(allBad)} failed`, allRefused && `${count(allRefused)} refused`].filter(Boolean);
  say("failures-note", told.join(", ") || `none ${minutes}`);
  draw("failures-line", `Failed runs a second over five minutes, at most ${most(bad)}; refused requests, at most ${most(refused)}`,
    [[allBad ? "bad" : "soft", bad, true], ...(allRefused ? [["late", refused]] : [])]);

  const { p50, p95 } = rates.last_minute;
  say("time", time(p50));
  say("time-note", p95 === null ? "no run in the last minute" : `95 % within ${time(p95)}`);
  draw("time-line", `Run time over five minutes, now ${time(p50)} in the middle and ${time(p95)} for 95 percent`,
    [["soft", average(rates.p95)], ["good", average(rates.p50)]]);

  sample(running, waiting, rates.seconds);
  const past = Array(rates.seconds - SAMPLES.length).fill(null);
  const line = (at) => [...past, ...SAMPLES.map((one) => one[at])];
  const waited = SAMPLES.some(([, one]) => one);
  $("queue").replaceChildren(count(running), el("small", {}, " running"));
  say("queue-note", waiting ? `${count(waiting)} waiting` : "none waiting");
  draw("queue-line", `Requests under way: ${running} running, ${waiting} waiting`, [["good", line(0)], ...(waited ? [["late", line(1)]] : [])]);
};

// One cell for each, or of many only as wide as their share.
const missing = (pool) => Math.max(0, pool.target - pool.idle - pool.busy - pool.creating);

const cells = (pool) => {
  const made = [["busy", pool.busy], ["idle", pool.idle], ["creating", pool.creating], ["missing", missing(pool)], ["waiting", pool.waiting]];
  const spread = sum(made.map(([, number]) => number)) > MOST_CELLS;
  return made.flatMap(([kind, number]) => {
    if (!number) return [];
    if (!spread) return Array.from({ length: number }, () => el("i", { class: `cell ${kind}` }));
    const one = el("i", { class: `cell ${kind}` });
    one.style.flexGrow = number;
    return [one];
  });
};

const poolItem = (pool) => {
  const name = pool.temporary ? "Images without a pool" : pool.image;
  const words = [`${pool.idle} idle`, `${pool.busy} busy`];
  if (pool.creating) words.push(`${pool.creating} being made`);
  if (missing(pool)) words.push(`${missing(pool)} missing`);
  if (pool.retiring) words.push(`${pool.retiring} being removed`);
  if (pool.waiting) words.push(some(pool.waiting, "request waits", "requests wait"));
  const picture = el("div", { class: "cells", role: "img", "aria-label": `${name}: ${words.join(", ")}` }, ...cells(pool));
  const notes = [el("p", { class: "note" }, words.join(" · "))];
  const { demand } = pool;
  if (demand && demand.requests) {
    const waited = demand.waited_share ? `${percent(demand.waited_share)} of ${some(demand.requests, "request", "requests")} had to wait`
      : `none of ${some(demand.requests, "request", "requests")} had to wait`;
    const size = demand.recommended_size === null || pool.temporary ? ""
      : demand.recommended_size === pool.target ? "; the size fits" : `; a size of ${demand.recommended_size} would do`;
    notes.push(el("p", { class: "note" }, `In ${span(demand.window)} ${waited}${size}.`));
  }
  if (pool.failure) notes.push(el("p", { class: "note failure" }, pool.failure));
  const size = pool.temporary ? [] : [el("span", { class: "size" }, `size ${pool.target}`)];
  return el("li", { class: "card" }, el("h3", {}, name, ...size), picture, ...notes);
};

const showPools = (pools) => {
  const shown = pools.filter((pool) => !pool.temporary || pool.idle + pool.busy + pool.creating + pool.waiting || pool.failure);
  unlessSame("pools", shown, () => $("pools").replaceChildren(...shown.map(poolItem)));
};

const LABELS = { signaled: "killed", nonzero_exit: "failed" };
export const chip = (status) =>
  el("span", { class: `chip ${status === "ok" ? "good" : status === "cancelled" ? "soft" : "bad"}` }, (LABELS[status] || status).replaceAll("_", " "));

const row = (run) => {
  const cell = (label, content, kind = "") => el("td", { role: "cell", class: kind, "data-label": label }, content);
  const when = new Date(Date.now() - run.seconds_ago * 1000);
  return el("tr", { role: "row" },
    cell("", el("time", { datetime: when.toISOString(), title: when.toLocaleString() }), "when"),
    cell("", chip(run.status), "status"),
    cell("", run.image, "image"),
    cell("exit", run.exit_code === null ? "–" : String(run.exit_code), "number"),
    cell("", time(run.execution_time), "number time"),
    cell("queued", time(run.queue_time), "number"),
    cell("", run.warm ? "warm" : "cold", "warmth"),
    cell("key", run.key || "–", "key"),
    cell("", run.request_id, "request"));
};

const rows = new Map(); // by what the run is known under

const showRecent = (recent) => {
  const wanted = recent.map((run) => {
    const name = `${run.number} ${run.request_id}`;
    const shown = rows.get(name) || row(run);
    rows.set(name, shown);
    const when = shown.querySelector("time");
    if (when.textContent !== ago(run.seconds_ago)) when.textContent = ago(run.seconds_ago);
    return [name, shown];
  });
  const names = new Set(wanted.map(([name]) => name));
  for (const [name, shown] of rows) if (!names.has(name)) { shown.remove(); rows.delete(name); }
  // Those that are there already are not touched, so that a selection in them stays.
  wanted.forEach(([, shown], at) => { if ($("rows").children[at] !== shown) $("rows").insertBefore(shown, $("rows").children[at] || null); });
  $("recent").classList.toggle("keyless", !recent.some((run) => run.key));
  $("recent").hidden = !recent.length;
  $("none").hidden = recent.length > 0;
};

const show = (status) => {
  const { health } = status;
  verdict(health.status, [...health.reasons, ...health.advice]);
  say("about", [status.version && `version ${status.version}`, `up ${span(status.uptime_seconds)}`].filter(Boolean).join(" · "));
  showFigures(status);
  showPools(status.pools);
  showRecent(status.recent);
  $("ask").hidden = true;
  $("data").hidden = false;
  $("forget").hidden = !key();
  document.body.classList.remove("stale");
  lastAnswer = new Date();
  failed = false;
  opened();
};

const gone = (why) => {
  failed = true;
  document.body.classList.add("stale");
  const since = lastAnswer ? ` What is shown here is of ${lastAnswer.toLocaleTimeString()}.` : "";
  verdict("gone", [], `${why}${since} This page goes on asking.`);
};

// --- The key

const key = () => sessionStorage.getItem("key") || "";

const askForKey = () => {
  const wrong = key() !== "";
  sessionStorage.removeItem("key");
  verdict("closed", []);
  $("data").hidden = true;
  $("forget").hidden = true;
  $("ask").hidden = false;
  document.body.classList.remove("stale");
  say("about", "");
  say("wrong", wrong ? "The server does not know this key." : "");
  $("key").value = "";
  $("key").focus();
};

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", $("key").value.trim());
  say("wrong", "");
  poll();
});

$("forget").addEventListener("click", () => {
  sessionStorage.removeItem("key");
  poll();
});

// --- Asking

export const ask = (where, options = {}) => {
  // A header is bytes; that of the key is UTF-8, as in the file of keys.
  const bytes = String.fromCharCode(...new TextEncoder().encode(key()));
  const headers = { ...options.headers, ...(bytes && { Authorization: `Bearer ${bytes}` }) };
  return fetch(where, { ...options, headers, cache: "no-store", credentials: "omit", redirect: "error" });
};

const look = async () => {
  let answer, body;
  try {
    answer = await ask("status", { signal: AbortSignal.timeout(PATIENCE) });
    body = await answer.json();
  } catch (error) {
    return gone(error instanceof SyntaxError ? "What answers is not the server." : "The server cannot be reached.");
  }
  if (answer.ok && body?.rates) show(body);
  else if (answer.status === 401) askForKey();
  else gone(body?.error || "What answers is not the server.");
};

const poll = async () => {
  if (asking) return;
  clearTimeout(timer);
  asking = true;
  try {
    if (!document.hidden) await look();
  } finally {
    asking = false;
    // Without a key there is nothing to ask for.
    if ($("ask").hidden || failed) timer = setTimeout(poll, failed ? PAUSE : PERIOD);
  }
};

document.addEventListener("visibilitychange", () => { if (!document.hidden && ($("ask").hidden || failed)) poll(); });
say("first", `curl ${new URL("execute", location.href)} -H 'Content-Type: application/json' -d '{"script": "echo hi"}'`);
poll();
