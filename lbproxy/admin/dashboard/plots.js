// Four plots of the last five minutes.  Lines differ in colour and in dash; the caption says the newest values in words.

import { bytes, element, rate, seconds, setText } from "./show.js";

const HEIGHT = matchMedia("(max-width: 40rem)").matches ? 100 : 150;
const DASHES = [[], [7, 4], [2, 3]];
const KEYS = ["key", "key dashed", "key dotted"];

const PLOTS = [
  { title: "Requests a second", unit: rate, least: 1, lines: [["requests", "requests", "--accent"]] },
  { title: "Errors a second", unit: rate, least: 1, lines: [["errors", "failed", "--bad"]] },
  {
    title: "Time of a request", unit: seconds, least: 0.001,
    lines: [["p50", "50%", "--good"], ["p95", "95%", "--warn"], ["p99", "99%", "--bad"]],
  },
  { title: "Bytes a second", unit: bytes, least: 1000, lines: [["out", "to clients", "--accent"], ["in", "from clients", "--warn"]] },
];

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class Plots {
  constructor(holder) {
    this.plots = PLOTS.map((spec) => {
      const words = element("span");
      const keys = element("span");
      spec.lines.forEach(([, label], at) => {
        if (spec.lines.length > 1) keys.append(element("i", { class: KEYS[at] }), `${label}  `);
      });
      const canvas = element("div", { role: "img" });
      const figure = element("figure", {}, element("figcaption", {}, element("b", {}, spec.title), keys, words), canvas);
      holder.append(figure);
      return { spec, words, keys, canvas, plot: null, data: null };
    });
    this.restyle();
    new ResizeObserver(() => this.resize()).observe(holder);
  }

  // Made anew when the colours change: a canvas does not follow style sheets.
  restyle() {
    for (const one of this.plots) {
      one.plot?.destroy();
      const axis = {
        stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false },
        font: "12px system-ui, sans-serif",
      };
      const lines = one.spec.lines.map(([, label, name], at) => ({
        label, stroke: colour(name), width: 2, dash: DASHES[at], points: { show: false },
        ...(one.spec.lines.length === 1 ? { fill: `${colour(name)}22` } : {}),
      }));
      one.keys.querySelectorAll("i").forEach((key, at) => (key.style.borderColor = colour(one.spec.lines[at][2])));
      one.plot = new window.uPlot(
        {
          width: Math.max(200, one.canvas.clientWidth), height: HEIGHT, legend: { show: false },
          cursor: { show: false }, padding: [8, 8, 0, 0],
          scales: { y: { range: (plot, low, high) => [0, Math.max(high || 0, one.spec.least) * 1.1] } },
          series: [{}, ...lines],
          axes: [
            { ...axis, size: 26, space: 90, values: (plot, marks) => marks.map((at) => new Date(at * 1000).toLocaleTimeString("en-GB")) },
            { ...axis, size: 62, space: 28, values: (plot, marks) => marks.map((mark) => one.spec.unit(mark)) },
          ],
        },
        one.data || [[], ...lines.map(() => [])],
        one.canvas,
      );
    }
  }

  resize() {
    for (const one of this.plots) {
      const width = one.canvas.clientWidth;
      if (width && width !== one.plot.width) one.plot.setSize({ width, height: HEIGHT });
    }
  }

  draw(series) {
    for (const one of this.plots) {
      one.data = [series.at, ...one.spec.lines.map(([field]) => series[field])];
      if (!document.hidden) one.plot.setData(one.data);
      const words = one.spec.lines
        .map(([field, label]) => `${one.spec.lines.length > 1 ? `${label} ` : ""}${one.spec.unit(series[field].at(-1)) || "–"}`)
        .join(", ");
      setText(one.words, words);
      one.canvas.setAttribute("aria-label", `${one.spec.title}, last five minutes; now ${words}`);
    }
  }
}
