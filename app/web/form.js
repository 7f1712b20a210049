// The search form: what its fields ask for, and what is wrong with them.

import { byId } from "./dom.js";

export const form = byId("search");

const fields = () => [...byId("filters").querySelectorAll("input, select")];
const modalities = () => [...form.querySelectorAll("[name=modality]")];
const checked = () => modalities().filter((box) => box.checked).map((box) => box.value);
const usual = (field) => (field.tagName === "SELECT" ? field.options[0].value : "");

/** A bound that is no length counts as none; `filtersHold` says that it is wrong. */
function number(name) {
  const field = form.elements[name];
  return field.value === "" || !field.validity.valid ? null : Number(field.value);
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
  const folder = form.elements.path_prefix.value.trim();
  if (folder) filter.path_prefix = folder.replace(/\/*$/, "/"); // without it, "2026" is the start of "2026b" too
  if (form.elements.added_since.value) filter.added_at = { gte: beginOf(form.elements.added_since.value) };
  return filter;
}

export function bodyOf(query) {
  const filter = filterOf();
  return {
    query,
    limit: Number(form.elements.limit.value),
    modalities: checked(),
    min_confidence: form.elements.min_confidence.value,
    ...(Object.keys(filter).length && { filter }),
  };
}

function countFilters() {
  const count = Object.keys(filterOf()).length + (form.elements.min_confidence.value !== "none");
  byId("filters-count").textContent = count ? ` (${count})` : "";
}

/** What is chosen beside the query and other than usual, by the names of the fields. */
export function chosen() {
  const filters = fields().filter((field) => field.validity.valid && field.value !== usual(field)).map((field) => [field.name, field.value]);
  const [modality, ...others] = checked();
  return Object.fromEntries(others.length ? filters : [...filters, ["modality", modality]]);
}

/** Chooses again what `chosen` told; what no field can hold counts as the usual. */
export function choose(told) {
  for (const field of fields()) {
    field.value = told.get(field.name) ?? usual(field);
    if (!field.validity.valid || field.selectedIndex === -1) field.value = usual(field);
  }
  const known = modalities().some((box) => box.value === told.get("modality"));
  for (const box of modalities()) box.checked = !known || box.value === told.get("modality");
  countFilters();
}

const filtersHold = () => fields().every((field) => field.validity.valid);

function showFilters(shown) {
  byId("filters").hidden = !shown;
  byId("filters-button").setAttribute("aria-expanded", String(shown));
}

/** `submitted(query)` when the user asks, `changed()` when the same is to be asked in another way. */
export function listen({ submitted, changed }) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const query = byId("query").value.trim();
    if (query) submitted(query);
  });
  form.addEventListener("change", (event) => {
    countFilters();
    if (event.target.name === "modality" && !checked().length) modalities().find((box) => box !== event.target).checked = true;
    event.target.reportValidity();
    if (event.target.id !== "query" && filtersHold()) changed();
  });
  // A hidden field cannot show what is wrong with it: the browser would then refuse to search, and say nothing.
  form.addEventListener("invalid", (event) => fields().includes(event.target) && showFilters(true), true);
  byId("filters-button").addEventListener("click", () => showFilters(byId("filters").hidden));
  byId("filters-clear").addEventListener("click", () => {
    for (const field of fields()) field.value = usual(field);
    countFilters();
    changed();
  });
}
