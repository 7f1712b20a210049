// The search page: reads the form, asks the API, shows what came. The address bar holds the query, so Back works.

import { Problem, search, setKey, similar, version } from "./api.js";
import { byId, element, plural, span } from "./dom.js";
import { pauseAll } from "./player.js";
import { card, skeletons } from "./results.js";
import { explain } from "./why.js";

const EXAMPLES = [
  "a blue drum stands on a stage with red curtains",
  "the meeting moved to Tuesday",
  "the sound of a guitar playing",
  "the man with short blond hair says: nobody remembered to water the plants",
  "first a drum beats, then rain falls",
];
const DEGRADED = {
  shortlist_reduced: "The service is busy: fewer clips were compared than usual.",
  audio_missing: "Sound could not be compared for this query.",
  rerank_timeout: "Time ran out: fewer clips were compared, or moments and reasons are missing.",
  unknown_words: "Some words did not count: they were not understood, or come too late in a long query.",
};

const form = byId("search");
let asked = null; // the body of the query on screen
let explained = null; // its results with explanations, fetched on first "Why?"
let running = null; // the list on screen: aborted by the next one, and with it all that was asked for it

// Form

function number(name) {
  const value = form.elements[name].value.trim();
  return value === "" ? null : Number(value);
}

/** The moment at which a day begins where the user is. */
const beginOf = (day) => new Date(`${day}T00:00`).toISOString();

function filterOf() {
  const filter = {};
  const [shortest, longest] = [number("shortest"), number("longest")];
  if (shortest !== null || longest !== null) filter.duration_s = { ...(shortest !== null && { gte: shortest }), ...(longest !== null && { lte: longest }) };
  if (form.elements.has_audio.value) filter.has_audio = form.elements.has_audio.value === "true";
  const tags = form.elements.tags.value.split(",").map((tag) => tag.trim()).filter(Boolean);
  if (tags.length) filter.tags = tags;
  if (form.elements.path_prefix.value.trim()) filter.path_prefix = form.elements.path_prefix.value.trim();
  if (form.elements.added_since.value) filter.added_at = { gte: beginOf(form.elements.added_since.value) };
  return filter;
}

function bodyOf(query) {
  const modalities = [...form.querySelectorAll("[name=modality]:checked")].map((box) => box.value);
  const filter = filterOf();
  return {
    query,
    limit: Number(form.elements.limit.value),
    modalities,
    min_confidence: form.elements.min_confidence.value,
    ...(Object.keys(filter).length && { filter }),
  };
}

function countFilters() {
  const count = Object.keys(filterOf()).length + (form.elements.min_confidence.value !== "none");
  byId("filters-count").textContent = count ? ` (${count})` : "";
}

// Showing

function notice(kind, title, ...content) {
  return element(`div.notice${kind}`, {}, element("h2", {}, title), ...content.filter(Boolean).map((part) => (typeof part === "string" ? element("p", {}, part) : part)));
}

function keyForm() {
  const field = element("input", { type: "password", name: "key", required: true, placeholder: "API key" });
  field.setAttribute("aria-label", "API key");
  const made = element("form", {}, field, element("button", { type: "submit" }, "Use key"));
  made.addEventListener("submit", (event) => {
    event.preventDefault();
    setKey(field.value);
    if (asked) run(asked);
  });
  return made;
}

function problemNotice(problem) {
  if (!(problem instanceof Problem)) throw problem;
  return notice(".error", problem.title, problem.hint, problem.status === 401 ? keyForm() : null);
}

function showProblem(problem) {
  byId("list").replaceChildren();
  byId("status").textContent = "";
  byId("more").hidden = true;
  byId("notices").replaceChildren(problemNotice(problem));
}

/** What went wrong with "Show more" stands beside it: the results so far stay, and a video plays on. */
function showNoMore(problem, body) {
  const again = element("button", { type: "button", onclick: () => run(body) }, "Search again");
  const changed = notice("", "The library has changed since this search", "Search again to see what is there now.", again);
  byId("more-notices").replaceChildren(problem.code === "snapshot_retired" ? changed : problemNotice(problem));
}

function showNotices(answer) {
  const unknown = (answer.unknown_words ?? []).map((word) => `“${word}”`).join(", ");
  const notices = answer.degraded.map((name) => notice("", DEGRADED[name], name === "unknown_words" && unknown));
  if (!answer.results.length) notices.push(notice("", "Nothing found", "Say it in other words, or take away a filter."));
  else if (answer.best_confidence === "none") notices.push(notice("", "No confident answer", "These are the nearest videos."));
  byId("notices").replaceChildren(...notices);
}

function showLibrary(pool) {
  byId("library").textContent = `${plural(pool.videos, "video")}, ${span(pool.seconds)}`;
}

function showStatus(answer, label) {
  const took = answer.took_ms;
  const count = plural(byId("list").children.length, "result");
  byId("status").replaceChildren(element("b", {}, label), ` · ${count}`, took ? ` of ${plural(answer.pool.videos, "video")} in ${Math.round(took.total)} ms` : "");
  byId("status").title = !took ? "" : Object.entries(took).map(([stage, ms]) => `${stage} ${Number(ms).toFixed(1)} ms`).join(", ");
}

function showMore(answer, body) {
  const more = byId("more");
  const { signal } = running;
  more.hidden = !answer.next_cursor;
  more.onclick = async () => {
    more.disabled = true;
    byId("more-notices").replaceChildren();
    try {
      const next = await search({ ...body, cursor: answer.next_cursor }, signal);
      byId("list").append(...next.results.map((result) => card(result, actions)));
      showStatus(next, body.query);
      showMore(next, body);
    } catch (problem) {
      if (problem.name !== "AbortError") showNoMore(problem, body);
    } finally {
      more.disabled = false;
    }
  };
}

// Doing

const actions = {
  async why(result, where, seek, button) {
    const open = where.querySelector(".why");
    button.setAttribute("aria-expanded", String(!open));
    if (open) return open.remove();
    button.disabled = true;
    try {
      explained ??= await explanations(asked, running.signal);
      const explanation = explained.get(result.video_id);
      where.append(explanation ? explain(explanation, seek) : element("div.why", {}, element("p", {}, "No explanation for this result: it came with a later page, or time ran out.")));
    } catch (problem) {
      button.setAttribute("aria-expanded", "false");
      if (problem.name === "AbortError") return;
      if (!(problem instanceof Problem)) throw problem;
      byId("notices").replaceChildren(notice(".error", problem.title, problem.hint));
    } finally {
      button.disabled = false;
    }
  },
  async similar(result) {
    await show((signal) => similar(result.video_id, 10, signal), `Like “${result.title}”`, null);
  },
};

async function explanations(body, signal) {
  const limit = Math.min(100, Math.max(body.limit, byId("list").children.length));
  const answer = await search({ ...body, limit, explain: true }, signal);
  return new Map(answer.results.map((result) => [result.video_id, result.explanation]));
}

/** Shows what `request` brings. `body` is the query to explain and to page through; null where there is none. */
async function show(request, label, body) {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  pauseAll();
  [asked, explained] = [body ?? asked, null];
  form.classList.add("searched");
  for (const id of ["notices", "more-notices"]) byId(id).replaceChildren();
  byId("status").textContent = "Searching…";
  byId("more").hidden = true;
  byId("list").replaceChildren(...skeletons(3));
  try {
    const answer = await request(signal);
    const available = body ? actions : { ...actions, why: null };
    byId("list").replaceChildren(...answer.results.map((result) => card(result, available)));
    if (answer.pool) showLibrary(answer.pool);
    showNotices({ degraded: [], ...answer });
    showStatus(answer, label);
    if (body) showMore(answer, body);
  } catch (problem) {
    if (problem.name !== "AbortError") showProblem(problem);
  }
}

function run(body) {
  return show((signal) => search(body, signal), body.query, body);
}

function ask(query, remember = true) {
  byId("query").value = query;
  if (remember) history.pushState({ query }, "", `?${new URLSearchParams({ q: query })}`);
  document.title = `${query} · HTAV`;
  return run(bodyOf(query));
}

// Start

function listen() {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const query = byId("query").value.trim();
    if (query) ask(query);
  });
  form.addEventListener("change", (event) => {
    countFilters();
    const boxes = [...form.querySelectorAll("[name=modality]")];
    if (event.target.name === "modality" && !boxes.some((box) => box.checked)) boxes.find((box) => box !== event.target).checked = true;
    if (asked && event.target.id !== "query" && form.checkValidity()) run(bodyOf(asked.query));
  });
  byId("filters-button").addEventListener("click", () => {
    const hidden = byId("filters").toggleAttribute("hidden");
    byId("filters-button").setAttribute("aria-expanded", String(!hidden));
  });
  byId("filters-clear").addEventListener("click", () => {
    for (const field of byId("filters").querySelectorAll("input, select")) field.value = field.tagName === "SELECT" ? field.options[0].value : "";
    countFilters();
    if (asked) run(bodyOf(asked.query));
  });
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? "");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      byId("query").select();
    } else if (event.key === "Escape") pauseAll();
  });
  addEventListener("popstate", () => begin());
}

function theme() {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => (root.dataset.theme = localStorage.getItem("htav-theme") ?? (dark.matches ? "dark" : "light"));
  dark.addEventListener("change", apply);
  byId("theme").addEventListener("click", () => {
    localStorage.setItem("htav-theme", root.dataset.theme === "dark" ? "light" : "dark");
    apply();
  });
  apply();
}

function begin() {
  const query = new URLSearchParams(location.search).get("q");
  if (query) ask(query, false);
  else byId("query").focus();
}

async function about() {
  try {
    const answer = await version();
    byId("about").textContent = [`HTAV ${answer.version}`, answer.model, "queries in English", `code: ${answer.code_licence}`, `weights: ${answer.weights_licence}`].filter(Boolean).join(" · ");
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
  }
}

theme();
listen();
byId("examples").append("Try", ...EXAMPLES.map((text) => element("button", { type: "button", onclick: () => ask(text) }, text)));
about();
begin();
