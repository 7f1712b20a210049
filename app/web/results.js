// One card a result: thumbnail, title, confidence, what picture and sound contributed, and the moments to play.

import { refusalOf } from "./api.js";
import { clock, element, fromTo, svg } from "./dom.js";
import { play } from "./player.js";

const CONFIDENCE = { high: "High confidence", medium: "Medium confidence", low: "Low confidence", none: "Not confident" };

function playIcon() {
  return svg("svg", { viewBox: "0 0 24 24", width: 22, height: 22, "aria-hidden": "true" }, svg("path", { d: "M8 5.5v13l11-6.5z", fill: "currentColor" }));
}

function waveIcon() {
  const bars = [6, 14, 22, 12, 18, 8, 16, 10].map((height, index) => svg("rect", { x: 3 + index * 6, y: 14 - height / 2, width: 3, height, rx: 1.5, fill: "currentColor" }));
  return svg("svg", { viewBox: "0 0 52 28", class: "wave", "aria-hidden": "true" }, ...bars);
}

function screenOf(result, start) {
  const moment = result.moments[0];
  const screen = element("div.screen");
  const image = element("img", { alt: "", loading: "lazy", decoding: "async" });
  image.addEventListener("error", async () => {
    const refusal = await refusalOf(moment.thumbnail_url);
    image.replaceWith(refusal === "no_picture" ? waveIcon() : "");
  });
  image.src = moment.thumbnail_url;
  const cover = element("button.cover", { type: "button", onclick: () => start(0) }, element("span", {}, playIcon()));
  cover.setAttribute("aria-label", `Play ${result.title} from ${clock(moment.start_s)}`);
  screen.append(image, cover, element("span.length", {}, fromTo(moment)));
  return screen;
}

function bar(name, kind, score) {
  const known = typeof score === "number";
  const track = element(`div.bar.${kind}`, {}, element("i"));
  track.firstChild.style.width = `${known ? Math.max(0, Math.min(1, score)) * 100 : 0}%`;
  track.setAttribute("role", "meter");
  track.setAttribute("aria-label", name);
  track.setAttribute("aria-valuemin", "-1");
  track.setAttribute("aria-valuemax", "1");
  track.setAttribute("aria-valuenow", known ? score.toFixed(3) : "0");
  return [element("span", {}, name), track, element("span.number", {}, known ? score.toFixed(2) : "none")];
}

function momentButton(moment, index, start) {
  const text = `▶ ${fromTo(moment)}`;
  const button = element("button", { type: "button", title: `peak at ${moment.peak_s.toFixed(1)} s, score ${moment.score.toFixed(2)}`, onclick: () => start(index) }, text);
  button.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-label", `Play ${fromTo(moment)}`);
  return element("li", {}, button);
}

/** `actions` has why(result, card, seek, button) and similar(result, card, button). */
export function card(result, actions) {
  const made = element("li.card", { tabIndex: -1 });
  made.dataset.videoId = result.video_id;
  const moments = element("ul.moments", { "aria-label": "Moments" });
  const start = (index) => {
    for (const [other, item] of [...moments.children].entries()) item.firstChild.setAttribute("aria-pressed", String(other === index));
    play(screen, result.moments[index], result.title);
  };
  const seek = (time) => play(screen, { ...result.moments[0], start_s: time, end_s: null }, result.title);
  const screen = result.moments.length ? screenOf(result, start) : element("div.screen", {}, waveIcon());
  moments.append(...result.moments.map((moment, index) => momentButton(moment, index, start)));
  const why = element("button.quiet", { type: "button", onclick: () => actions.why(result, made, seek, why) }, "Why?");
  why.setAttribute("aria-expanded", "false");
  const like = element("button.quiet", { type: "button", onclick: () => actions.similar(result, made, like) }, "More like this");
  made.append(screen, element("div.facts", {}, ...heading(result), scores(result), moments, element("div.actions", {}, actions.why ? why : null, like)));
  return made;
}

function heading(result) {
  const confidence = result.confidence && element(`span.confidence.${result.confidence}`, {}, CONFIDENCE[result.confidence]);
  const title = element("h3", {}, element("span.rank", {}, `${result.rank}.`), result.title);
  return [element("div.heading", {}, title, confidence), element("p.uri", {}, result.uri)];
}

/** A search compares picture and sound apart; "more like this" gives one score. */
function scores(result) {
  const apart = result.modality_scores;
  return element("div.bars", {},
    ...bar("Together", "fused", result.score),
    ...(apart ? [...bar("Picture", "video", apart.video), ...bar("Sound", "audio", apart.audio)] : []));
}

export function skeletons(count) {
  return Array.from({ length: count }, () => element("li.card.skeleton", { "aria-hidden": "true" }));
}
