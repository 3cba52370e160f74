// The page: what the state says, once a second, and what operators do about it.

import { Refused, ask, follow, merge, token } from "./api.js";
import { History, done, panelRow, sum } from "./history.js";
import { Plots } from "./plots.js";
import { Table, bytes, clock, date, element, number, percent, pill, rate, seconds, setText, span } from "./show.js";

const $ = (id) => document.getElementById(id);
const history = new History();
let state = null;
let role = "";
const events = [];

// -- saying things ------------------------------------------------------------------------------

function say(text) {
  setText($("said"), text);
  setText($("foot"), text);
}

function link(word, look) {
  setText($("link"), word);
  $("link").className = `pill ${look}`;
}

// One question at a time; resolves to null, or to the text of the field ("" without one).
function question(title, text, { label = "", value = "", type = "text", yes = "Yes", list = null } = {}) {
  const dialog = $("ask");
  setText($("ask-title"), title);
  setText($("ask-text"), text);
  setText($("ask-label"), label);
  setText($("ask-yes"), yes);
  const input = $("ask-input");
  $("ask-field").hidden = !label;
  input.type = type;
  input.value = value;
  input.autocomplete = "off";
  $("ask-list").hidden = !list;
  $("ask-list").replaceChildren(...(list || []).map((line) => element("li", {}, line)));
  dialog.returnValue = "cancel";
  dialog.showModal();
  (label ? input : $("ask-cancel")).focus();
  return new Promise((answer) => {
    dialog.addEventListener("close", () => answer(dialog.returnValue === "yes" ? input.value : null), { once: true });
  });
}
// Enter in the field means yes, not the first button of the form.
$("ask-input").addEventListener("keydown", (event) => {
  if (event.key === "Enter") {
    event.preventDefault();
    $("ask").close("yes");
  }
});

async function askToken(why) {
  if ($("ask").open) return;
  const value = await question("Token", why, { label: "Token", type: "password", yes: "Use it" });
  if (value === null) return;
  token.set(value.trim());
  location.reload();
}

// -- what operators do --------------------------------------------------------------------------

const serverPath = (row) => `backends/${encodeURIComponent(row.backend)}/servers/${encodeURIComponent(row.name)}`;

async function change(row, body, words) {
  try {
    await ask("PATCH", serverPath(row), body);
    say(`${row.backend}/${row.name}: ${words}`);
    if (servers.paged) loadServers();
  } catch (error) {
    say(`${row.backend}/${row.name}: not done: ${error.message}`);
    if (error instanceof Refused && error.status === 401) askToken(error.message);
  }
}

const ACTIONS = {
  Ready: ["ready", "Health checks decide again whether it gets traffic.", "ready"],
  Drain: ["drain", "It gets no new traffic; what runs on it may finish.", "draining"],
  Maint: ["maint", "It gets no new traffic and is not checked.", "in maintenance"],
};

async function act(row, name) {
  const [admin, meaning, words] = ACTIONS[name];
  const runs = row.active ? ` ${number(row.active)} ${row.active === 1 ? "request runs" : "requests run"} on it now.` : "";
  const sure = await question(`${name} ${row.backend}/${row.name}?`, meaning + (admin === "ready" ? "" : runs), { yes: name });
  if (sure !== null) await change(row, { admin }, words);
}

async function weigh(row) {
  const text = await question(`Weight of ${row.backend}/${row.name}`, "Its share of the traffic; 0 takes no new traffic.", {
    label: "Weight", value: String(row.weight), type: "number", yes: "Set",
  });
  if (text === null) return;
  if (!/^\d+$/.test(text)) {
    say(`${text || "nothing"} is not a weight`);
    return;
  }
  await change(row, { weight: Number(text) }, `weight ${text}`);
}

async function past(row) {
  const subject = `${row.backend}/${row.name}`;
  const found = events.filter((event) => event.subject === subject).reverse();
  const list = found.map((event) => `${date(event.at)}  ${event.text}`);
  await question(`History of ${subject}`, list.length ? "The newest first." : "Nothing happened to it lately.", { list, yes: "Close" });
}

// A server's name opens its history.
function named(row) {
  const name = `${row.backend}/${row.name}`;
  const button = element("button", { type: "button", class: "plain", "aria-label": `${name}: history` }, name);
  button.addEventListener("click", () => past(row));
  return button;
}

function actions(row) {
  const holder = element("span", { class: "actions" });
  const add = (name, run) => {
    const button = element("button", { type: "button", "aria-label": `${name} ${row.backend}/${row.name}` }, name);
    button.addEventListener("click", run);
    holder.append(button);
  };
  const now = () => servers.rows.find((one) => one.backend === row.backend && one.name === row.name) || row;
  if (role === "write") {
    for (const name of Object.keys(ACTIONS)) if (ACTIONS[name][0] !== row.admin) add(name, () => act(now(), name));
    add("Weight", () => weigh(now()));
  }
  return holder;
}

// -- tables -------------------------------------------------------------------------------------

const wide = (column) => ({ ...column, wide: true });
const text = (title, field, kind = "") => ({ title, kind, text: (row) => row[field], value: (row) => row[field] });
const count = (title, get) => ({ title, kind: "number", text: (row) => number(get(row)), value: (row) => get(row) ?? -1 });
const speed = (title, key, field) => ({
  title, kind: "number",
  text: (row) => rate(history.rate(key(row), field)), value: (row) => history.rate(key(row), field) ?? -1,
});
const tail = (title, key, share) => ({
  title, kind: "number",
  text: (row) => seconds(history.quantile(key(row), share)), value: (row) => history.quantile(key(row), share) ?? -1,
});

const front = (row) => `f ${row.name}`;
const frontends = new Table($("frontends-table"), "Frontends", [
  text("Name", "name"),
  wide(text("Mode", "mode")),
  { title: "Listens on", kind: "wrap", text: (row) => row.listen.join(", ") },
  { title: "Connections", kind: "number", text: (row) => number(row.active_connections) + (row.maxconn ? ` / ${number(row.maxconn)}` : ""), value: (row) => row.active_connections },
  speed("Requests/s", front, "done"),
  count("Requests", done),
  speed("Failed/s", front, "failed"),
  count("4xx", (row) => row.responses["4xx"]),
  count("5xx", (row) => row.responses["5xx"]),
  count("Refused", (row) => row.refused),
  tail("p50", front, 0.5),
  tail("p99", front, 0.99),
  { title: "Out/s", kind: "number", text: (row) => bytes(history.rate(front(row), "out")), value: (row) => history.rate(front(row), "out") ?? -1 },
], { key: (row) => row.name, empty: "no frontends" });

const back = (row) => `b ${row.name}`;
const backends = new Table($("backends-table"), "Backends", [
  text("Name", "name"),
  wide(text("Mode", "mode")),
  wide(text("Balancer", "balance")),
  {
    title: "Servers up", text: (row) => `${row.up} of ${row.servers}`, value: (row) => row.up,
    node: (row) => element("span", { class: `pill ${row.up === 0 ? "bad" : row.up < row.servers ? "warn" : "good"}` }, `${number(row.up)} of ${number(row.servers)}`),
  },
  count("Active", (row) => row.active),
  count("Waiting", (row) => row.waiting),
  count("Retries", (row) => row.retries),
  count("Sent away", (row) => row.queue_full + row.queue_timeouts + row.no_server),
  tail("p50", back, 0.5),
  tail("p99", back, 0.99),
], { key: (row) => row.name, empty: "no backends" });

const one = (row) => `s ${row.backend}/${row.name}`;
const ORDER = { down: 0, drain: 1, maint: 2, up: 3 };
const servers = new Table($("servers-table"), "Servers", [
  { title: "Server", text: (row) => `${row.backend}/${row.name}`, value: (row) => `${row.backend}/${row.name}`, node: named },
  { title: "State", text: (row) => row.state, value: (row) => ORDER[row.state], node: (row) => pill(row.state) },
  { title: "Address", kind: "wrap", text: (row) => row.address, value: (row) => row.address },
  { title: "Weight", kind: "number", text: (row) => number(row.weight) + (row.backup ? " backup" : ""), value: (row) => row.weight },
  { title: "Active", kind: "number", text: (row) => number(row.active) + (row.maxconn ? ` / ${number(row.maxconn)}` : ""), value: (row) => row.active },
  speed("Requests/s", one, "picked"),
  count("Requests", (row) => row.picked),
  count("Failed", (row) => row.failed),
  count("Downs", (row) => row.downs),
  { title: "Last check", kind: "wrap", text: (row) => row.note, value: (row) => row.note },
  { title: "Actions", text: (row) => `${role} ${row.admin}`, node: actions },
], { key: (row) => `${row.backend}/${row.name}`, empty: "no such server", sort: 0 });

const sessions = new Table($("sessions-table"), "Sessions", [
  text("Client", "client"),
  text("Frontend", "frontend"),
  { title: "Server", text: (row) => `${row.backend}/${row.server}` },
  text("Kind", "kind"),
  text("Request", "request", "wrap"),
  { title: "Age", kind: "number", text: (row) => span(row.age_s), value: (row) => row.age_s },
  { title: "In", kind: "number", text: (row) => bytes(row.bytes_in) },
  { title: "Out", kind: "number", text: (row) => bytes(row.bytes_out) },
], { key: (row) => row.id, empty: "no sessions" });

const certificates = new Table($("certificates-table"), "Certificates", [
  { title: "Names", kind: "", text: (row) => row.names.join(", ") || row.source, value: (row) => row.names[0] || "" },
  text("File", "source", "wrap"),
  text("Issuer", "issuer", "wrap"),
  {
    title: "Days left", kind: "number", text: (row) => number(Math.floor(row.days_left)), value: (row) => row.days_left,
    node: (row) => element("span", { class: `pill ${row.days_left < 3 ? "bad" : row.days_left < 14 ? "warn" : "good"}` }, number(Math.floor(row.days_left))),
  },
], { key: (row) => row.source, empty: "no certificates are served", sort: 3 });

const eventTable = new Table($("events-table"), "Events", [
  { title: "Time", kind: "time", text: (row) => date(row.at) },
  { title: "Severity", text: (row) => row.severity, node: (row) => pill(row.severity) },
  wide(text("Kind", "kind")),
  wide(text("Subject", "subject", "wrap")),
  text("What happened", "text", "wrap"),
], { key: (row) => row.number, page: 20, empty: "nothing happened yet", sort: -1 });
eventTable.columns.forEach((column) => delete column.value);

// -- servers: from the state, or in pages from the API when there are very many --------------------

function showServers() {
  const total = sum(Object.values(state.backends).map((row) => row.servers));
  const there = Object.values(state.servers);
  servers.paged = there.length < total;
  if (servers.paged) return; // loadServers does it
  const backend = $("servers-backend").value;
  const wanted = $("servers-state").value;
  const name = $("servers-name").value.toLowerCase();
  servers.show(there.filter((row) =>
    (!backend || row.backend === backend) && (!wanted || row.state === wanted) &&
    (!name || `${row.backend}/${row.name} ${row.address}`.toLowerCase().includes(name))));
}

async function loadServers() {
  if (!state || !servers.paged || document.hidden) return;
  const query = new URLSearchParams({ limit: servers.page, offset: servers.offset });
  if ($("servers-backend").value) query.set("backend", $("servers-backend").value);
  if ($("servers-state").value) query.set("state", $("servers-state").value);
  const name = $("servers-name").value.trim();
  try {
    if (name) {
      const [backend, server] = name.includes("/") ? name.split("/", 2) : [$("servers-backend").value, name];
      const found = await ask("GET", serverPath({ backend, name: server })).catch(() => null);
      servers.show(found ? [found] : [], found ? 1 : 0);
    } else {
      const found = await ask("GET", `servers?${query}`);
      servers.show(found.items, found.total);
    }
  } catch (error) {
    say(`servers: ${error.message}`);
  }
}
servers.onpage = () => (servers.paged ? loadServers() : servers.draw());
setInterval(loadServers, 2000);
for (const id of ["servers-backend", "servers-state", "servers-name"]) {
  $(id).addEventListener("input", () => {
    servers.offset = 0;
    if (state) servers.paged ? loadServers() : showServers();
  });
}

async function loadSessions() {
  if (!$("sessions-details").open || document.hidden) return;
  const query = new URLSearchParams({ limit: 200 });
  if ($("sessions-client").value.trim()) query.set("client", $("sessions-client").value.trim());
  try {
    const found = await ask("GET", `sessions?${query}`);
    sessions.show(found.items);
  } catch (error) {
    say(`sessions: ${error.message}`);
  }
}
setInterval(loadSessions, 2000);
$("sessions-details").addEventListener("toggle", loadSessions);
$("sessions-client").addEventListener("change", loadSessions);
for (const form of document.querySelectorAll("form.filters")) form.addEventListener("submit", (event) => event.preventDefault());

// -- other parts' panels ------------------------------------------------------------------------

const keysPath = (frontend) => `frontends/${encodeURIComponent(frontend)}/keys`;

// `app requests=100/1h target=api.example.org/*`: the body of a new key.
function keyOf(words) {
  const lists = { origin: "origins", target: "targets", method: "methods", referrer: "referrers" };
  const [name, ...rules] = words.trim().split(/\s+/);
  const body = { name };
  for (const rule of rules) {
    const [key, value = ""] = rule.split(/=(.*)/s);
    if (lists[key]) (body[lists[key]] ||= []).push(value);
    else body[key] = key === "concurrent" ? Number(value) : value;
  }
  return body;
}

async function addKey(frontend) {
  const words = await question(`New key of ${frontend}`, "Name and rules, such as: app requests=100/1h bytes=1g/1d concurrent=4 target=api.example.org/* expires=30d", {
    label: "Key", yes: "Add",
  });
  if (!words?.trim()) return;
  try {
    const made = await ask("POST", keysPath(frontend), keyOf(words));
    await question(`Key ${made.name}`, "Copy it now: it is not stored and cannot be shown again.", { list: [made.key], yes: "Done" });
    say(`key ${made.name} added`);
  } catch (error) {
    say(`key not added: ${error.message}`);
  }
}

async function revokeKey(row) {
  const sure = await question(`Revoke ${row.name}?`, "Its calls are refused within 2 seconds, and its WebSockets end.", { yes: "Revoke" });
  if (sure === null) return;
  try {
    await ask("DELETE", `${keysPath(row.frontend)}/${encodeURIComponent(row.name)}`);
    say(`key ${row.name} revoked`);
  } catch (error) {
    say(`key ${row.name}: not done: ${error.message}`);
  }
}

function buttonFor(word, label, run) {
  if (role !== "write") return element("span", {});
  const button = element("button", { type: "button", "aria-label": label }, word);
  button.addEventListener("click", run);
  return element("span", { class: "actions" }, button);
}

// Panels whose rows operators can change.
const PANEL_ACTIONS = {
  corsproxy: (row) => buttonFor("Add key", `Add a key of ${row.frontend}`, () => addKey(row.frontend)),
  corskeys: (row) => buttonFor("Revoke", `Revoke key ${row.name}`, () => revokeKey(row)),
};

const OURS = new Set(["frontends", "backends", "servers", "certificates"]);
const UNITS = {
  count: number, bytes, seconds, time: date, percent,
  "": (value) => (Array.isArray(value) ? value.join(", ") : typeof value === "boolean" ? (value ? "yes" : "no") : value ?? ""),
};
const panels = [];

// A column with a setting, and buttons for its other values: POST /api/v1/<rows of the panel>.
const SETTINGS = ["on", "off", "auto"];
function switching(panel, column) {
  async function set(row, setting) {
    const name = `${panel.title} of ${row.frontend}`;
    const meaning = setting === "auto" ? "It follows the configuration again." : "Until lbproxy stops.";
    if ((await question(`${name}: ${setting}?`, meaning, { yes: setting })) === null) return;
    try {
      await ask("POST", panel.rows, { setting, frontend: row.frontend });
      say(`${name}: ${setting}`);
    } catch (error) {
      say(`${name}: not done: ${error.message}`);
      if (error instanceof Refused && error.status === 401) askToken(error.message);
    }
  }
  function node(row) {
    const holder = element("span", { class: "actions" }, row[column.key]);
    for (const setting of role === "write" ? SETTINGS : []) {
      if (setting === row[column.key]) continue;
      const label = `${panel.title} ${setting} ${row.frontend}`;
      const button = element("button", { type: "button", "aria-label": label }, setting);
      button.addEventListener("click", () => set(row, setting));
      holder.append(button);
    }
    return holder;
  }
  return { title: column.title, text: (row) => `${role} ${row[column.key]}`, node };
}

function panelColumn(panel, column) {
  if (column.unit === "switch") return switching(panel, column);
  if (column.unit === "rate") return speed(column.title, (row) => panelRow(panel.rows, row.key), column.key);
  return {
    title: column.title, kind: column.unit && column.unit !== "time" ? "number" : "",
    text: (row) => (UNITS[column.unit] || UNITS[""])(row[column.key]), value: (row) => row[column.key] ?? "",
  };
}

async function loadPanels() {
  const found = await ask("GET", "panels");
  for (const panel of found.panels) {
    if (OURS.has(panel.rows)) continue;
    const holder = element("div", { class: "table" });
    const id = `panel-${panel.rows}`;
    $("panels").append(element("section", { "aria-labelledby": id }, element("h2", { id }, panel.title), holder));
    history.follow(panel.rows, panel.columns.filter((column) => column.unit === "rate").map((column) => column.key));
    const columns = panel.columns.map((column) => panelColumn(panel, column));
    const act = PANEL_ACTIONS[panel.rows];
    if (act) columns.push({ title: "Actions", text: (row) => `${role} ${row.key}`, node: act });
    panels.push([panel.rows, new Table(holder, panel.title, columns, { key: (row) => row.key, empty: "none" })]);
  }
}

// -- once a second ------------------------------------------------------------------------------

function tile(title, value, bad = false) {
  return element("div", { class: bad ? "bad" : "" }, element("dt", {}, title), element("dd", {}, value));
}

function showTiles(now) {
  const rows = Object.values(state.backends);
  const up = sum(rows.map((row) => row.up));
  const all = sum(rows.map((row) => row.servers));
  const waiting = sum(rows.map((row) => row.waiting));
  const ratio = now.requests ? now.errors / now.requests : 0;
  $("tiles").replaceChildren(
    tile("Requests/s", rate(now.requests)),
    tile("Failed", percent(ratio), ratio > 0.05),
    tile("p50", seconds(now.p50)),
    tile("p95", seconds(now.p95)),
    tile("p99", seconds(now.p99)),
    tile("Connections", number(state.process.connections)),
    tile("Waiting", number(waiting)),
    tile("Servers up", `${number(up)} of ${number(all)}`, up < all),
    tile("Late", seconds(state.process.lag_s), state.process.lag_s > 0.5),
    tile("Memory", bytes(state.process.resident_bytes)),
  );
}

let alertsShown = "";
function showAlerts() {
  const on = state.alerts?.on;
  const firing = Object.values(state.alerts?.firing || {});
  const empty = Object.values(state.backends).filter((row) => row.servers && !row.usable).map((row) => row.name);
  const key = JSON.stringify([on, firing, empty]);
  if (key === alertsShown) return;
  alertsShown = key;
  const quiet = [];
  if (empty.length) {
    quiet.push(element("li", { class: "error" }, pill("error"), element("span", {}, `No usable server in ${empty.join(", ")}.`)));
  }
  if (!on) quiet.push(element("li", { class: "off" }, "Alerts are off: the configuration has no [alerts]."));
  else if (!empty.length) quiet.push(element("li", { class: "none" }, "No alert fires."));
  $("alert-list").replaceChildren(
    ...(firing.length
      ? firing.map((alert) =>
          element("li", { class: alert.severity }, pill(alert.severity), element("strong", {}, alert.name),
            element("span", {}, alert.text), element("time", {}, `since ${clock(alert.since)}`)))
      : quiet),
  );
  const troubles = firing.length || empty.length;
  document.title = troubles ? `(${troubles}) lbproxy` : "lbproxy";
}

function showBackendChoices() {
  const names = Object.keys(state.backends);
  const select = $("servers-backend");
  const there = [...select.options].slice(1).map((option) => option.value);
  if (names.join("\n") === there.join("\n")) return;
  const chosen = select.value;
  select.replaceChildren(element("option", { value: "" }, "all"), ...names.map((name) => element("option", {}, name)));
  select.value = names.includes(chosen) ? chosen : "";
}

let plots = null;
function show() {
  const now = history.add(state);
  if (document.hidden) return;
  $("about").title = state.process.config;
  setText($("about"), `${state.process.version} · ${state.process.config.split("/").pop()} · up ${span(state.at - state.process.started)}`);
  showTiles(now);
  plots ??= new Plots($("plots"));
  plots.draw(history.series);
  showAlerts();
  showBackendChoices();
  frontends.show(Object.values(state.frontends));
  backends.show(Object.values(state.backends));
  showServers();
  certificates.show(Object.values(state.certificates));
  for (const [rows, table] of panels) {
    table.show(Object.entries(state[rows] || {}).map(([key, row]) => ({ name: key, ...row, key })));
  }
}

// -- the theme ----------------------------------------------------------------------------------

const THEMES = ["auto", "light", "dark"];
function theme(name) {
  localStorage.setItem("lbproxy-theme", name);
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  setText($("theme"), `Theme: ${name}`);
  plots?.restyle();
}
theme(THEMES.includes(localStorage.getItem("lbproxy-theme")) ? localStorage.getItem("lbproxy-theme") : "auto");
$("theme").addEventListener("click", () => {
  theme(THEMES[(THEMES.indexOf(localStorage.getItem("lbproxy-theme")) + 1) % THEMES.length]);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots?.restyle());

// -- the beginning ------------------------------------------------------------------------------

function connection(word, error) {
  if (word === "live") {
    link("live", "good");
  } else {
    link("not connected", "bad");
    if (error instanceof Refused && error.status === 401) askToken("lbproxy asks for a token.");
    else if (error) say(`no connection: ${error.message}`);
  }
}

$("token-button").addEventListener("click", () => askToken("It is kept until this tab is closed. Leave it empty to forget it."));

async function begin() {
  try {
    const who = await ask("GET", "whoami");
    role = who.role;
    await loadPanels();
  } catch (error) {
    connection("lost", error);
    if (error instanceof Refused && error.status === 401) return;
  }
  follow("stream", (kind, data) => {
    state = kind === "state" || state === null ? data : merge(state, data);
    show();
  }, connection);
  follow("events/stream?limit=200", (kind, data) => {
    if (events.length && data.number <= events[events.length - 1].number) events.length = 0; // lbproxy began anew
    events.push(data);
    if (events.length > 1000) events.shift();
    eventTable.show([...events].reverse());
  }, () => {});
}

begin();
