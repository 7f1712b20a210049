// Plays one moment inside a card, stops at its end, and lets only one card sound at a time.

import { refusalOf, statusOf } from "./api.js";
import { element } from "./dom.js";

const REFUSED = {
  0: "The service does not answer.",
  401: "The link to this video has expired. Search again to play it.",
  404: "The video’s file is gone, or cannot be read.",
  409: "The video is not ready to be played.",
};

let current = null;

export function play(screen, moment, title) {
  const video = screen.querySelector("video") ?? open(screen, moment, title);
  if (current && current !== video) current.pause();
  current = video;
  const start = () => {
    [video.htavStart, video.htavEnd] = [moment.start_s, moment.end_s];
    video.currentTime = moment.start_s;
    video.play().catch(() => {}); // a browser that forbids autoplay leaves the controls to press
  };
  if (video.readyState >= 1) start();
  else video.addEventListener("loadedmetadata", start, { once: true });
}

function open(screen, moment, title) {
  const [address] = moment.stream_url.split("#");
  const video = element("video", { controls: true, playsInline: true, preload: "metadata" });
  video.setAttribute("aria-label", title);
  video.addEventListener("timeupdate", () => {
    if (video.htavEnd !== null && video.currentTime >= video.htavEnd) {
      video.htavEnd = null; // the viewer may go on past the moment
      video.pause();
    }
  });
  video.addEventListener("seeking", () => {
    const ours = Math.abs(video.currentTime - video.htavStart) < 0.1;
    if (!ours) video.htavEnd = null; // the viewer looks elsewhere
  });
  const refuse = (status) => video.isConnected && put(screen, element("p.unplayable", { role: "alert", tabIndex: -1 }, ...whyNot(address, status)));
  video.addEventListener("error", async () => refuse(await statusOf(address)));
  video.addEventListener("loadedmetadata", async () => {
    // To the browser, pictures in a coding that it does not know are no error: it plays the sound on a black screen.
    if (!video.videoWidth && (await refusalOf(moment.thumbnail_url)) === "") refuse(200);
  });
  video.src = `${address}#t=${moment.start_s}`;
  put(screen, video);
  return video;
}

/** What is shown changes; the keyboard's focus stays where it was. */
function put(screen, content) {
  const focused = screen.contains(document.activeElement);
  screen.replaceChildren(content);
  if (focused) content.focus();
}

/** The player says only that it failed; what the address answers tells whether the file or the way to it is at fault. */
function whyNot(address, status) {
  if (status === 200) return ["This browser cannot play the file. ", element("a", { href: address, download: "" }, "Download it")];
  return [REFUSED[status] ?? `The service does not send the file (status ${status}).`];
}

export function pauseAll() {
  current?.pause();
}
