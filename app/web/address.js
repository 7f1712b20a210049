// The address bar holds what is on screen: Back, a reload and a sent link bring it again.

let shown = location.search;

/** What the address asks for: a query with what is chosen beside it, or the videos like one of its results. */
export function asksFor() {
  const parts = new URLSearchParams(location.search);
  shown = location.search;
  return { query: (parts.get("q") ?? "").trim(), like: parts.get("like"), choices: parts, title: history.state?.title };
}

/** Each list has one place in history: to ask for it again adds none. */
export function remember(parts, title = "") {
  const address = new URLSearchParams(parts).toString();
  const same = address === new URLSearchParams(location.search).toString();
  history[same ? "replaceState" : "pushState"]({ title }, "", `?${address}`);
  shown = location.search;
}

/** Calls `begin` when Back or Forward lead to another list; a link within the page leads to none. */
export function onReturn(begin) {
  addEventListener("popstate", () => location.search !== shown && begin());
}
