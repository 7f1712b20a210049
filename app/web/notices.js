// What the page says beside the results, and the form for an API key.

import { Problem, setKey } from "./api.js";
import { element } from "./dom.js";

/** The service speaks to programs; where a person cannot know what is meant, the page says it in these words. */
const PLAIN = {
  unknown_video: { title: "This video is no longer in the library", hint: "Search again to see what is there now." },
};

export function notice(kind, title, ...content) {
  const said = content.filter(Boolean).map((part) => (typeof part === "string" ? element("p", {}, part) : part));
  return element(`div.notice${kind}`, kind === ".error" ? { role: "alert" } : {}, element("h2", {}, title), ...said);
}

/** `again()` repeats what was refused for want of a key. */
function keyForm(again) {
  const field = element("input", { type: "password", name: "key", required: true, placeholder: "API key" });
  field.setAttribute("aria-label", "API key");
  field.addEventListener("input", () => field.setCustomValidity(""));
  const made = element("form", {}, field, element("button", { type: "submit" }, "Use key"));
  made.addEventListener("submit", (event) => {
    event.preventDefault();
    field.setCustomValidity(setKey(field.value.trim()));
    if (field.reportValidity()) again();
  });
  return made;
}

export function problemNotice(problem, again) {
  if (!(problem instanceof Problem)) throw problem;
  const { title, hint } = PLAIN[problem.code] ?? problem;
  const wantsKey = problem.status === 401 || problem.code === "forbidden";
  return notice(".error", title, hint, wantsKey && keyForm(again));
}
