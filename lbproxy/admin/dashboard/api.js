// Talks to the API: the token, requests, and event streams that carry it.

const KEY = "lbproxy-token";

export const token = {
  get: () => sessionStorage.getItem(KEY) || "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function headers(more = {}) {
  const all = { Accept: "application/json", "X-Requested-With": "dashboard", ...more };
  if (token.get()) all.Authorization = `Bearer ${token.get()}`;
  return all;
}

async function words(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `answered ${response.status}`;
  }
}

export async function ask(method, path, body) {
  const options = { method, headers: headers(), cache: "no-store" };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const response = await fetch(`api/v1/${path}`, options);
  if (!response.ok) throw new Refused(response.status, await words(response));
  return response.json();
}

// Follows a stream for ever: told(kind, data) for each event, state(word, error) when the connection changes.
// EventSource cannot send a token, so the lines are read here.
export async function follow(path, told, state) {
  let last = "";
  let pause = 500;
  for (;;) {
    try {
      const more = { Accept: "text/event-stream" };
      if (last) more["Last-Event-ID"] = last;
      const response = await fetch(`api/v1/${path}`, { headers: headers(more), cache: "no-store" });
      if (!response.ok) throw new Refused(response.status, await words(response));
      state("live");
      pause = 500;
      await read(response.body.getReader(), (event) => {
        if (event.id) last = event.id;
        told(event.kind, JSON.parse(event.data));
      });
      state("lost");
    } catch (error) {
      state("lost", error);
    }
    await new Promise((done) => setTimeout(done, pause));
    pause = Math.min(pause * 2, 10000);
  }
}

async function read(reader, told) {
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += decoder.decode(value, { stream: true });
    let end;
    while ((end = rest.indexOf("\n\n")) >= 0) {
      const event = { kind: "message", id: "", data: "" };
      for (const line of rest.slice(0, end).split("\n")) {
        if (line.startsWith("event: ")) event.kind = line.slice(7);
        else if (line.startsWith("id: ")) event.id = line.slice(4);
        else if (line.startsWith("data: ")) event.data += line.slice(6);
      }
      rest = rest.slice(end + 2);
      if (event.data) told(event);
    }
  }
}

// RFC 7396.
export function merge(target, patch) {
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete target[key];
    else if (isObject(value) && isObject(target[key])) merge(target[key], value);
    else target[key] = value;
  }
  return target;
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
