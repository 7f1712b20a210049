// Talks to the HTTP API of this host. Every failure becomes a Problem with a title a person can act on.

const KEY = "htav-api-key";

export class Problem extends Error {
  constructor({ title, hint = "", status = 0, code = "" }) {
    super(title);
    Object.assign(this, { title, hint, status, code });
  }
}

/** Keeps the key until the tab is closed; or says why not: no header takes it, so that every request would fail. */
export function setKey(key) {
  if (!/^[\x21-\x7e]+$/.test(key)) return "An API key has only Latin letters, digits and signs, and no space.";
  sessionStorage.setItem(KEY, key);
  return "";
}

async function call(path, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  const key = sessionStorage.getItem(KEY);
  if (key) headers["X-API-Key"] = key;
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ title: "The service does not answer", hint: "It may have stopped. Start it with `htav serve`, then try again." });
  }
  if (response.ok) return response.json();
  throw await problemOf(response);
}

async function problemOf(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    // A proxy in between may answer with something else than problem+json: the status line must do.
  }
  const wait = response.headers.get("Retry-After");
  const busy = [429, 503].includes(response.status) && wait ? `Try again in ${wait} s.` : "";
  return new Problem({
    title: body.detail || body.title || response.statusText || `HTTP ${response.status}`,
    hint: [body.hint, busy].filter(Boolean).join(" "),
    code: body.code || "",
    status: response.status,
  });
}

/** The status that a media address answers with now; 0 where nothing answers. It carries its own permission. */
export const statusOf = (address) =>
  fetch(new URL(address, document.baseURI), { method: "HEAD", cache: "no-store" }).then((response) => response.status, () => 0);

/** "" where a thumbnail comes, else the code of its refusal: `no_picture` where the file has sound only. */
export const refusalOf = (address) =>
  fetch(new URL(address, document.baseURI))
    .then(async (response) => (response.ok ? "" : (await response.json()).code))
    .catch(() => "unknown");

export const search = (body, signal) =>
  call("v1/search", { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, signal });
export const similar = (videoId, limit, signal) => call(`v1/videos/${encodeURIComponent(videoId)}/similar?limit=${limit}`, { signal });
export const version = () => call("version");
