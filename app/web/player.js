// Plays one moment inside a card, stops at its end, and lets only one card sound at a time.

import { element } from "./dom.js";

let current = null;

export function play(screen, moment, title) {
  const video = screen.querySelector("video") ?? open(screen, moment, title);
  if (current && current !== video) current.pause();
  current = video;
  video.htavEnd = moment.end_s;
  const start = () => {
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
  const download = element("a", { href: address, download: "" }, "Download it");
  video.addEventListener("error", () => screen.replaceChildren(element("p.unplayable", {}, "This browser cannot play the file. ", download)));
  video.src = `${address}#t=${moment.start_s}`;
  screen.replaceChildren(video);
  return video;
}

export function pauseAll() {
  current?.pause();
}
