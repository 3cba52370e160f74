// What the state was, second by second: rates, percentiles, and the series of the plots.

export const KEEP = 300;
const WINDOW = 10; // seconds over which percentiles are taken

const FAILED = [
  "no_server", "queue_full", "queue_timeout", "connect_failed", "connect_timeout", "server_tls", "server_gone",
  "bad_response", "response_timeout", "server_timeout", "server_down", "filter_failed", "filter_timeout",
];

export const done = (frontend) =>
  frontend.mode === "http" ? sum(Object.values(frontend.responses)) : sum(Object.values(frontend.closes));
export const failed = (frontend) =>
  frontend.mode === "http" ? frontend.responses["5xx"] : sum(FAILED.map((kind) => frontend.closes[kind] || 0));

export function sum(values) {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

// A quantile of counts by bucket, interpolated inside its bucket; null when there is nothing.
export function quantile(bounds, counts, share) {
  const total = sum(counts);
  if (!total) return null;
  const wanted = share * total;
  let seen = 0;
  for (let at = 0; at < counts.length; at++) {
    if (counts[at] && seen + counts[at] >= wanted) {
      const low = at ? bounds[at - 1] : 0;
      if (at >= bounds.length) return bounds[bounds.length - 1];
      return low + (bounds[at] - low) * ((wanted - seen) / counts[at]);
    }
    seen += counts[at];
  }
  return bounds[bounds.length - 1];
}

// The totals that matter of one state, small enough to keep five minutes of them. `followed`: the
// fields of panels whose rates are shown.
function digest(state, followed) {
  const rows = {};
  for (const [name, one] of Object.entries(state.frontends)) {
    rows[`f ${name}`] = {
      done: done(one), failed: failed(one), refused: one.refused, connections: one.connections,
      out: one.bytes_out, in: one.bytes_in, times: one.request_seconds ? [...one.request_seconds.counts] : [],
    };
  }
  for (const [name, one] of Object.entries(state.backends)) {
    rows[`b ${name}`] = {
      retries: one.retries, times: one.response_seconds ? [...one.response_seconds.counts] : [],
    };
  }
  for (const [name, one] of Object.entries(state.servers || {})) {
    rows[`s ${name}`] = { picked: one.picked, failed: one.failed, out: one.bytes_out };
  }
  for (const [panel, fields] of followed) {
    for (const [name, one] of Object.entries(state[panel] || {})) {
      rows[panelRow(panel, name)] = Object.fromEntries(fields.map((field) => [field, one[field]]));
    }
  }
  return { at: state.at, rows };
}

// The name of a panel's row in a history.
export const panelRow = (panel, name) => `p ${panel} ${name}`;

export class History {
  constructor() {
    this.followed = [];
    this.samples = [];
    this.bounds = [];
    this.series = { at: [], requests: [], errors: [], p50: [], p95: [], p99: [], in: [], out: [] };
  }

  // Keep fields of a panel's rows from now on.
  follow(panel, fields) {
    if (fields.length) this.followed.push([panel, fields]);
  }

  add(state) {
    this.bounds = state.process.bounds;
    this.samples.push(digest(state, this.followed));
    if (this.samples.length > WINDOW + 1) this.samples.shift();
    const frontends = Object.keys(state.frontends).map((name) => `f ${name}`);
    // One sample has no rate: a gap, not a zero from which the plot would rise.
    const known = this.samples.length > 1;
    const total = (field) => (known ? sum(frontends.map((key) => this.rate(key, field) ?? 0)) : null);
    const times = this.times(frontends);
    const values = {
      at: state.at, requests: total("done"), errors: total("failed"),
      in: total("in"), out: total("out"),
      p50: quantile(this.bounds, times, 0.5), p95: quantile(this.bounds, times, 0.95), p99: quantile(this.bounds, times, 0.99),
    };
    for (const [name, list] of Object.entries(this.series)) {
      list.push(values[name]);
      if (list.length > KEEP) list.shift();
    }
    return values;
  }

  // Growth per second over the last few samples; null when it is not known yet.
  rate(key, field, back = 3) {
    const now = this.samples[this.samples.length - 1];
    const then = this.samples[Math.max(0, this.samples.length - 1 - back)];
    if (!now || now === then || !now.rows[key] || !then.rows[key]) return null;
    return Math.max(0, now.rows[key][field] - then.rows[key][field]) / (now.at - then.at);
  }

  // Counts by bucket over the window, of several rows together.
  times(keys) {
    const now = this.samples[this.samples.length - 1];
    const then = this.samples[0];
    const counts = new Array(this.bounds.length + 1).fill(0);
    if (!now || now === then) return counts;
    for (const key of keys) {
      const after = now.rows[key]?.times || [];
      const before = then.rows[key]?.times || [];
      after.forEach((count, at) => (counts[at] += Math.max(0, count - (before[at] || 0))));
    }
    return counts;
  }

  quantile(key, share) {
    return quantile(this.bounds, this.times([key]), share);
  }
}
