// The search page: reads the form, asks the API, shows what came. The address bar holds the query, so Back works.

import { Problem, search, similar, version } from "./api.js";
import { asksFor, onReturn, remember } from "./address.js";
import { byId, element, plural, span } from "./dom.js";
import { bodyOf, choose, chosen, form, listen as listenToForm } from "./form.js";
import { notice, problemNotice } from "./notices.js";
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

const TITLE = document.title;
let asked = null; // the body of the query on screen, or of the one whose results led there
let explained = null; // its results with explanations, fetched on first "Why?"
let running = null; // the list on screen: aborted by the next one, and with it all that was asked for it

// Showing

/** What went wrong, in words; a key that is then given asks again for what the address says. */
const told = (problem) => problemNotice(problem, begin);

function showProblem(problem) {
  byId("list").replaceChildren();
  byId("status").textContent = "";
  byId("more").hidden = true;
  byId("notices").replaceChildren(told(problem));
}

/** What went wrong with "Show more" stands beside it: the results so far stay, and a video plays on. */
function showNoMore(problem, body) {
  const again = element("button", { type: "button", onclick: () => run(body) }, "Search again");
  const changed = notice("", "The library has changed since this search", "Search again to see what is there now.", again);
  byId("more-notices").replaceChildren(problem.code === "snapshot_retired" ? changed : told(problem));
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
  more.onclick = () => once(more, async () => {
    byId("more-notices").replaceChildren();
    try {
      const next = await search({ ...body, cursor: answer.next_cursor }, signal);
      const cards = next.results.map((result) => card(result, actions));
      const focused = document.activeElement === more;
      byId("list").append(...cards);
      showStatus(next, body.query);
      showMore(next, body);
      if (focused) cards[0]?.focus();
    } catch (problem) {
      if (problem.name !== "AbortError") showNoMore(problem, body);
    }
  });
}

// Doing

/** One press at a time. The button only says that it is busy: `disabled` would take the focus from it. */
async function once(button, work) {
  if (button.ariaDisabled) return;
  button.ariaDisabled = "true";
  try {
    await work();
  } finally {
    button.ariaDisabled = null;
  }
}

/** What a card's button asks for; what goes wrong with it is said in that card. */
function inCard(where, button, work) {
  return once(button, async () => {
    where.querySelector(".notice")?.remove();
    try {
      await work();
    } catch (problem) {
      if (problem.name !== "AbortError") where.append(told(problem));
    }
  });
}

const actions = {
  async why(result, where, seek, button) {
    const open = where.querySelector(".why");
    open?.remove();
    button.setAttribute("aria-expanded", "false");
    if (open) return;
    await inCard(where, button, async () => {
      explained ??= await explanations(asked, running.signal);
      const explanation = explained.get(result.video_id);
      where.append(explanation ? explain(explanation, seek) : element("div.why", {}, element("p", {}, "No explanation for this result: it came with a later page, or time ran out.")));
      button.setAttribute("aria-expanded", "true");
    });
  },
  /** The list stays until there is another: the video may be gone. */
  async similar(result, where, button) {
    await inCard(where, button, async () => {
      const answer = await similar(result.video_id, 10, running.signal);
      remember({ ...(asked && { q: asked.query }), ...chosen(), like: result.video_id }, result.title);
      leave();
      draw(answer, likeness(result.title), null);
      byId("results").scrollIntoView();
      byId("results").focus({ preventScroll: true });
    });
  },
};

/** A link from elsewhere has the video, but not its title. */
const likeness = (title) => (title ? `Like “${title}”` : "Like this video");

async function explanations(body, signal) {
  const limit = Math.min(100, Math.max(body.limit, byId("list").children.length));
  const answer = await search({ ...body, limit, explain: true }, signal);
  return new Map(answer.results.map((result) => [result.video_id, result.explanation]));
}

/** Ends the list on screen, and all that was asked for it. */
function leave(...inItsPlace) {
  running?.abort();
  running = new AbortController();
  explained = null;
  pauseAll();
  for (const id of ["notices", "more-notices", "status"]) byId(id).replaceChildren();
  byId("status").title = "";
  byId("more").hidden = true;
  byId("list").replaceChildren(...inItsPlace);
}

/** `body` is the query to explain and to page through; null where there is none. */
function draw(answer, label, body) {
  document.title = `${label} · HTAV`;
  const available = body ? actions : { ...actions, why: null };
  byId("list").replaceChildren(...answer.results.map((result) => card(result, available)));
  if (answer.pool && !body.filter && body.modalities.length === 2) showLibrary(answer.pool);
  showNotices({ degraded: [], ...answer });
  showStatus(answer, label);
  if (body) showMore(answer, body);
}

/** Shows what `request` brings. */
async function show(request, label, body) {
  leave(...skeletons(3));
  document.title = `${label} · HTAV`;
  form.classList.add("searched");
  byId("status").textContent = "Searching…";
  try {
    draw(await request(running.signal), label, body);
  } catch (problem) {
    if (problem.name !== "AbortError") showProblem(problem);
  }
}

function run(body) {
  asked = body;
  return show((signal) => search(body, signal), body.query, body);
}

function ask(query) {
  remember({ q: query, ...chosen() });
  return run(bodyOf(query));
}

/** The page as it was before the first query. */
function showNothing() {
  asked = null;
  leave();
  document.title = TITLE;
  form.classList.remove("searched");
  byId("query").focus();
}

// Start

function listen() {
  listenToForm({ submitted: ask, changed: () => asked && ask(asked.query) });
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? "");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      byId("query").select();
    } else if (event.key === "Escape") pauseAll();
  });
  onReturn(begin);
}

function tryOut(example) {
  byId("query").value = example;
  form.requestSubmit();
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
  const { query, like, choices, title } = asksFor();
  choose(choices);
  if (query || asked) byId("query").value = query; // else it keeps what was typed while the page came
  if (!like) return query ? run(bodyOf(query)) : showNothing();
  asked = query ? bodyOf(query) : null;
  return show((signal) => similar(like, 10, signal), likeness(title), null);
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
byId("examples").append("Try", ...EXAMPLES.map((text) => element("button", { type: "button", onclick: () => tryOut(text) }, text)));
about();
begin();
