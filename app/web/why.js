// Draws an explanation: for each word of the query, where in the picture and in the sound the network looked.

import { clock, element, svg } from "./dom.js";

const ROW = 20;
const WIDTH = 560;
const LABELS = 96;
const AXIS = 20;

/** The edges of cells whose centres are `times`: half way between neighbours. */
export function edges(times) {
  if (times.length === 1) return [times[0] - 0.5, times[0] + 0.5];
  const middle = times.slice(1).map((time, index) => (time + times[index]) / 2);
  const first = times[0] - (middle[0] - times[0]);
  const last = times.at(-1) + (times.at(-1) - middle.at(-1));
  return [Math.max(0, first), ...middle, last];
}

function peakOf(row) {
  return row.reduce((best, value, index) => (value > row[best] ? index : best), 0);
}

function cell(kind, word, value, highest, box, seek) {
  const [left, right, top, time] = box;
  const drawn = svg("rect", { x: left, y: top + 1, width: Math.max(0.5, right - left - 1), height: ROW - 2, rx: 2 });
  if (value > 0) {
    drawn.setAttribute("class", `cell ${kind}`);
    drawn.setAttribute("fill-opacity", (0.08 + 0.92 * Math.sqrt(value / highest)).toFixed(3));
    drawn.append(svg("title", {}, `“${word}” at ${time.toFixed(1)} s: ${value.toFixed(3)}`));
    drawn.addEventListener("click", () => seek(time));
  } else {
    drawn.setAttribute("class", "empty");
  }
  return drawn;
}

/** Rows are words, columns are times: drawn to scale, so that two charts of one clip can be compared. */
function heatMap({ kind, name, words, times, values, seek }) {
  const bounds = edges(times);
  const [start, end] = [bounds[0], bounds.at(-1)];
  const place = (time) => LABELS + ((time - start) / (end - start)) * (WIDTH - LABELS);
  const highest = Math.max(1e-9, ...values.flat());
  const height = words.length * ROW + AXIS;
  const chart = svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": `${name}. ${summary(words, times, values)}` });
  words.forEach((word, row) => {
    chart.append(svg("text", { x: LABELS - 8, y: row * ROW + 14, "text-anchor": "end", class: "word" }, word.length > 13 ? `${word.slice(0, 12)}…` : word));
    times.forEach((time, column) => {
      const box = [place(bounds[column]), place(bounds[column + 1]), row * ROW, time];
      chart.append(cell(kind, word, values[row][column], highest, box, seek));
    });
  });
  for (let tick = 0; tick <= 4; tick += 1) {
    const time = start + ((end - start) * tick) / 4;
    const anchor = tick === 0 ? "start" : tick === 4 ? "end" : "middle";
    chart.append(svg("text", { x: place(time), y: height - 5, "text-anchor": anchor }, end - start < 8 ? `${time.toFixed(1)} s` : clock(time)));
  }
  return element("div.chart", {}, chart);
}

function summary(words, times, values) {
  const parts = words.map((word, row) => {
    const peak = peakOf(values[row]);
    return values[row][peak] > 0 ? `${word}: most at ${times[peak].toFixed(1)} s` : `${word}: nothing`;
  });
  return parts.join("; ");
}

function figure(title, text, options) {
  return element("section", {}, element("h4", {}, title), element("p", {}, text), heatMap({ name: title, ...options }));
}

function gates(values) {
  const flat = [];
  for (const [name, value] of Object.entries(values ?? {})) {
    if (typeof value === "number") flat.push([name, value]);
    else if (value && typeof value === "object" && !Array.isArray(value))
      for (const [part, inner] of Object.entries(value)) if (typeof inner === "number") flat.push([`${name} ${part}`, inner]);
  }
  if (!flat.length) return null;
  const items = flat.map(([name, value]) => element("span", {}, `${name.replaceAll("_", " ")} `, element("b", {}, value.toFixed(2))));
  return element("section", {}, element("h4", {}, "Gates"), element("div.gates", {}, ...items));
}

function table(words, charts) {
  const head = element("tr", {}, element("th", { scope: "col" }, "word"), ...charts.map((chart) => element("th", { scope: "col" }, `${chart.short} peak`)));
  const rows = words.map((word, row) =>
    element("tr", {}, element("th", { scope: "row" }, word), ...charts.map(({ times, values }) => {
      const peak = peakOf(values[row]);
      return element("td", {}, values[row][peak] > 0 ? `${times[peak].toFixed(1)} s (${values[row][peak].toFixed(2)})` : "none");
    })));
  return element("details", {}, element("summary", {}, "As a table"), element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
}

/** The whole panel under a result; `seek(time)` plays the video from there. */
export function explain(explanation, seek) {
  const { tokens: words, frames, audio_times: audioTimes } = explanation;
  const charts = [];
  if (frames?.length && explanation.video_attention?.length)
    charts.push({ short: "picture", title: "Where each word looked", text: "Attention of each word over the frames; each row sums to one.", kind: "video", times: frames.map((frame) => frame.t_s), values: explanation.video_attention });
  if (audioTimes?.length && explanation.audio_kept?.length)
    charts.push({ short: "sound", title: "What each word heard", text: "Sound that passed the word’s own threshold. Grey is exactly zero: thrown away.", kind: "audio", times: audioTimes, values: explanation.audio_kept });
  if (audioTimes?.length && explanation.audio_alignment?.length)
    charts.push({ short: "alignment", title: "Where the words fall in time", text: "Soft alignment of the words, in their order, with the sound. It means most for speech.", kind: "path", times: audioTimes, values: explanation.audio_alignment });
  const panel = element("div.why", { role: "region", "aria-label": "Why this result" });
  if (!charts.length) {
    panel.append(element("p", {}, "The service gave no explanation for this result."));
    return panel;
  }
  const figures = charts.map(({ title, text, kind, times, values }) => figure(title, text, { kind, words, times, values, seek }));
  panel.append(element("div.charts", {}, ...figures));
  if (explanation.heard_as)
    panel.append(element("section", {}, element("h4", {}, "Heard, letter by letter"), element("p.heard", {}, explanation.heard_as)));
  const gateList = gates(explanation.gates);
  if (gateList) panel.append(gateList);
  panel.append(table(words, charts));
  return panel;
}
