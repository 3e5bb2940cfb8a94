"use strict";
(() => {
const page = JSON.parse(document.getElementById("values").textContent);
const root = document.documentElement;
const $ = (id) => document.getElementById(id);
// Everything that comes from the data is set as text, never as markup.
const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
const fold = (text) => text.toLowerCase().replaceAll("_", " ");
const words = (text) => " " + fold(text).replace(/[^\p{L}\p{N}*]+/gu, " ");
const number = (value) => value.toLocaleString("en");
const percent = (value) => {
  const share = value * 100;
  if (share === 0 || share === 100) return share + " %";
  return (share < 0.1 ? +share.toPrecision(2) : Math.min(share, 99.9).toFixed(1)) + " %";
};

// ---- plots, in the colours of the theme
const narrow = matchMedia("(max-width: 640px)");
let views = [];
function colours() {
  const style = getComputedStyle(root);
  const of = (name) => style.getPropertyValue("--" + name).trim();
  const font = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
  return {
    background: "transparent", font,
    padding: {left: 2, right: 8, top: 6, bottom: 2},
    view: {stroke: null},
    range: {category: [of("before"), of("after")]},
    mark: {color: of("after")}, bar: {color: of("after")}, text: {color: of("soft")},
    axis: {
      labelColor: of("soft"), titleColor: of("soft"), titleFontWeight: 500, gridColor: of("faint"), domainColor: of("line"),
      tickColor: of("line"), labelFontSize: 12, titleFontSize: 12, labelLimit: 130,
    },
    axisY: {domain: false, ticks: false, labelPadding: 8},
    axisX: {labelOverlap: "greedy", labelSeparation: 6},
    // On a telephone there is no room for two entries beside each other, right of the names of tags.
    legend: {labelColor: of("ink"), orient: "top", labelFontSize: 13, symbolSize: 90, offset: 10, ...(narrow.matches ? {columns: 1, rowPadding: 3} : {})},
  };
}
async function draw() {
  for (const view of views) view.finalize();
  views = [];
  const config = colours(), style = getComputedStyle(root);
  for (const place of document.querySelectorAll("[data-plot]")) {
    const spec = JSON.stringify(page.plots[place.dataset.plot]);
    const coloured = spec.replace(/"var\((--[a-z]+)\)"/g, (_, name) => JSON.stringify(style.getPropertyValue(name).trim()));
    const shown = await vegaEmbed(place, JSON.parse(coloured), {
      actions: false, renderer: "svg", config, ast: true, mode: "vega-lite", tooltip: {theme: "custom", disableDefaultStyle: false},
    });
    views.push(shown);
  }
  root.dataset.plots = "drawn";
}

// ---- light and dark
const dark = matchMedia("(prefers-color-scheme: dark)");
let drawing = Promise.resolve();
const redraw = () => { drawing = drawing.then(draw); };
const remembered = () => { try { return localStorage.getItem("captionkit-theme"); } catch { return null; } };
if (remembered()) root.dataset.theme = remembered();
if (/^#(light|dark)$/.test(location.hash)) root.dataset.theme = location.hash.slice(1);
$("theme").addEventListener("click", () => {
  const now = root.dataset.theme || (dark.matches ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
  try { localStorage.setItem("captionkit-theme", root.dataset.theme); } catch { /* A file may have no storage. */ }
  redraw();
});
for (const media of [dark, narrow]) media.addEventListener("change", redraw);

// ---- the table of tags
const ROWS = 25;
let order = {by: 2, down: true};
let rows = page.tags, first = 0;
const value = (row, by) => by === 0 ? row[0] : by === 8 ? (row[8] ? row[8][1] - row[8][0] : -2) : row[by];
function sortRows() {
  const {by, down} = order;
  rows = rows.slice().sort((a, b) => {
    const x = value(a, by), y = value(b, by);
    return (by === 0 ? x.localeCompare(y) : x - y) * (down ? -1 : 1);
  });
}
function meter(share, told) {
  const box = make("span", "meter");
  const line = make("i");
  line.style.setProperty("--to", share * 100 + "%");
  line.setAttribute("aria-hidden", "true");
  box.append(line, told);
  return box;
}
function cell(className, ...children) {
  const td = make("td", className);
  td.append(...children);
  return td;
}
function beforeAfter(pair) {
  return [percent(pair[0]), make("span", "to", " → "), percent(pair[1])];
}
function showRows() {
  const body = $("table").tBodies[0];
  body.replaceChildren(...rows.slice(first, first + ROWS).map((row) => {
    const tr = make("tr");
    const th = make("th");
    th.scope = "row";
    const name = make("button", "", row[0]);
    name.type = "button";
    name.title = "Show its pictures";
    name.addEventListener("click", () => search(row[0], true));
    th.append(name);
    const small = [row[1] < 0 ? "" : page.categories[row[1]], row[7] ? "important" : ""].filter(Boolean).join(", ");
    if (small) th.append(make("small", "", small));
    const kept = cell("", meter(row[5], percent(row[5])));
    if (row[6]) kept.title = percent(row[6][0]) + " to " + percent(row[6][1]);
    tr.append(th, cell("", number(row[2])), cell("", percent(row[3])), cell("", percent(row[4])), kept,
      row[8] ? cell("", ...beforeAfter(row[8])) : cell("", make("span", "to", "–")),
      row[9] ? cell("text", row[9][0] + "  ", ...beforeAfter(row[9].slice(1))) : cell("text", "–"));
    return tr;
  }));
  const last = Math.min(first + ROWS, rows.length);
  $("table-told").textContent = rows.length ? `${number(first + 1)} to ${number(last)} of ${number(rows.length)}` : "No tag is called so.";
  $("table-back").disabled = first === 0;
  $("table-on").disabled = last >= rows.length;
  for (const th of $("table").tHead.rows[0].cells) {
    const button = th.querySelector("button");
    if (button && +button.dataset.by === order.by) th.setAttribute("aria-sort", order.down ? "descending" : "ascending");
    else th.removeAttribute("aria-sort");
  }
}
for (const button of $("table").tHead.querySelectorAll("button")) button.addEventListener("click", () => {
  const by = +button.dataset.by;
  order = {by, down: order.by === by ? !order.down : by !== 0};
  sortRows(); first = 0; showRows();
});
$("table-back").addEventListener("click", () => { first = Math.max(0, first - ROWS); showRows(); });
$("table-on").addEventListener("click", () => { first += ROWS; showRows(); });

// ---- the gallery
const STEP = narrow.matches ? 8 : 16;
const FATE = ["", "drop", "add", "add"];
let cards = page.cards, shown = 0;
const image = (card, mirrored) => {
  if (!card.p) return make("span", "lost", card.n ? "no picture" : "–");
  const img = make("img", mirrored ? "mirror" : "");
  img.src = "data:image/webp;base64," + card.p;
  [img.width, img.height] = card.s;
  img.alt = mirrored ? "the same, mirrored" : "";
  img.decoding = "async";
  return img;
};
function because(node, cause) {
  if (cause !== undefined && cause !== null) node.dataset.why = page.causes[cause];
  return node;
}
function tagNode([name, fate = 0, important = 0, cause, was]) {
  const chip = make("span", "t " + FATE[fate] + (important ? " imp" : ""), page.names[name]);
  if (fate === 1) { const gone = make("s", "t drop" + (important ? " imp" : ""), page.names[name]); return because(gone, cause); }
  if (was !== undefined && was !== null) {
    const both = make("span", "");
    both.append(because(make("s", "t drop", page.names[was]), cause), because(chip, cause));
    return both;
  }
  return because(chip, cause);
}
function proseNode(pieces) {
  const text = make("span", "prose");
  if (pieces.length === 1 && pieces[0][0] === "") return because(make("s", "t drop plain", "caption left out"), pieces[0][2]);
  for (const [words, fate = 0, cause] of pieces) {
    const node = fate === 0 ? document.createTextNode(words)
      : because(fate === 1 ? make("s", "drop", words) : make("ins", "", words), cause);
    text.append(node, " ");
  }
  return text;
}
function told(draw) {
  // The same as the marks say on hovering, as a list for everybody.
  const by = new Map();
  const add = (cause, what) => { if (cause !== undefined && cause !== null) by.set(cause, [...(by.get(cause) || []), what]); };
  for (const [name, fate = 0, , cause, was] of draw.g || []) if (fate) add(cause, (fate === 1 ? "" : "+ ") + page.names[name] + (was == null ? "" : ` (was ${page.names[was]})`));
  for (const [count, cause] of draw.q || []) add(cause, count === 1 ? "the tag" : `all ${count} tags`);
  for (const piece of draw.p) for (const [words, fate = 0, cause] of piece) if (fate) add(cause, words === "" ? "a caption" : (fate === 1 ? "" : "+ ") + `“${words}”`);
  if (!by.size) return null;
  const box = make("details");
  const list = make("ul");
  for (const [cause, what] of by) {
    const line = make("li");
    line.append(make("b", "", page.causes[cause]), " – ", what.join(", "));
    list.append(line);
  }
  box.append(make("summary", "", "what each step did"), list);
  return box;
}
function drawNode(card, draw, index) {
  const item = make("li");
  const body = make("div");
  const meta = make("div", "meta");
  meta.append(make("span", "", `draw ${index}`), make("span", "", page.causes[draw.o]), make("span", "", draw.x === 1 ? "1 token" : `${draw.x} tokens`));
  if (draw.m) { const badge = make("span", "badge", "mirrored"); badge.dataset.why = draw.w; meta.append(badge); }
  const words = make("div", "words");
  const tags = make("span", "");
  for (const tag of draw.g || []) tags.append(tagNode(tag), " ");
  for (const [count, cause] of draw.q || []) tags.append(because(make("s", "t drop plain", count === 1 ? "the tag left out" : `all ${count} tags left out`), cause), " ");
  const prose = draw.p.map(proseNode);
  if (draw.x === 0) words.append(make("span", "empty", "empty caption"));
  if (draw.a) words.append(make("ins", "", draw.a), " ");
  const proseBox = make("span", "");
  for (const piece of prose) proseBox.append(piece, " ");
  words.append(...(draw.r ? [proseBox, tags] : [tags, proseBox]));
  if (draw.z) words.append(make("ins", "", draw.z));
  body.append(meta, words);
  const list = told(draw);
  if (list) body.append(list);
  item.append(image(card, draw.m), body);
  return item;
}
function cardNode(card) {
  const box = make("article", "card pic");
  const see = make("div", "see");
  see.append(card.p ? image(card, false) : make("div", "lost", card.e || "no picture"));
  if (card.p) see.firstChild.alt = `picture ${card.i}`;
  const about = make("div");
  const last = card.i.slice(card.i.lastIndexOf("/") + 1);
  about.append(make("h3", "", last || card.i));
  const record = make("div", "rec");
  if (last && last !== card.i) record.append(make("small", "id", card.i));
  if (card.t.length) record.append(make("span", "", card.t.map((tag) => page.names[tag]).join(", ")));
  for (const [source, text] of card.c) {
    const line = make("span");
    line.append(`“${text}” `, make("small", "", source));
    record.append(line);
  }
  if (card.v) {
    const badge = make("span", "badge no", card.v[0] ? `not mirrored: ${card.v[0]}` : card.v[1]);
    badge.dataset.why = card.v[1];
    record.append(badge);
  }
  about.append(record);
  const draws = make("ol", "draws");
  draws.append(...card.d.map((draw, index) => drawNode(card, draw, index)));
  box.append(see, about, draws);
  return box;
}
function showCards(again) {
  if (!$("cards")) return;
  if (again) { $("cards").replaceChildren(); shown = 0; }
  $("cards").append(...cards.slice(shown, shown + STEP).map(cardNode));
  shown = Math.min(shown + STEP, cards.length);
  $("gallery-told").textContent = cards.length ? `${number(shown)} of ${number(cards.length)} shown` : "No record fits.";
  $("gallery-on").hidden = shown >= cards.length;
}
const ONLY = {
  may: (card) => card.f, not: (card) => !card.f, broken: (card) => card.e,
  empty: (card) => card.d.some((draw) => draw.x === 0),
  important: (card) => card.d.some((draw) => (draw.g || []).some((tag) => tag[2])),
};
const texts = new Map();
function textOf(card) {
  if (!texts.has(card)) texts.set(card, words([card.i, ...card.t.map((tag) => page.names[tag]), ...card.c.map(([, text]) => text), ...(card.v || [])].join("\n")));
  return texts.get(card);
}
if ($("gallery-on")) {
  $("gallery-on").addEventListener("click", () => showCards(false));
  $("only").addEventListener("change", () => filter());
}

// ---- one search over tags and gallery
function filter() {
  // A word is looked for where words begin, so that "cat" does not find "indicator"; letters that are written
  // without spaces between words are found anywhere.
  const wanted = words($("search").value).trim().split(" ").filter(Boolean).map((word) => /^[\x00-\x7f]+$/.test(word) ? " " + word : word);
  const fits = (text) => wanted.every((word) => text.includes(word));
  rows = page.tags.filter((row) => fits(words(row[0])));
  first = 0;
  sortRows(); showRows();
  const only = $("only") ? ONLY[$("only").value] : undefined;
  cards = page.cards.filter((card) => fits(textOf(card)) && (!only || only(card)));
  showCards(true);
}
let waiting = 0;
$("search").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 120); });
$("search").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && $("search").value) { filter(); ($("gallery") || $("tags")).scrollIntoView(); }
});
function search(text, go) {
  $("search").value = text;
  filter();
  if (go && $("gallery")) $("gallery").scrollIntoView();
}
addEventListener("keydown", (event) => {
  if (event.key === "/" && !/INPUT|SELECT|TEXTAREA/.test(document.activeElement.tagName)) { event.preventDefault(); $("search").focus(); }
  if (event.key === "Escape") hideWhy();
});

// ---- why: on hovering, or on a tap
const why = $("why");
function hideWhy() { why.hidden = true; }
function showWhy(node) {
  why.textContent = node.dataset.why;
  why.hidden = false;
  const at = node.getClientRects()[0];
  const left = Math.min(Math.max(8, at.left), innerWidth - why.offsetWidth - 8);
  why.style.left = left + scrollX + "px";
  why.style.top = (at.top > why.offsetHeight + 70 ? at.top - why.offsetHeight - 6 : at.bottom + 6) + scrollY + "px";
}
const about = (event) => event.target instanceof Element ? event.target.closest("[data-why]") : null;
addEventListener("pointerover", (event) => { const node = about(event); if (node) showWhy(node); else hideWhy(); });
addEventListener("click", (event) => { const node = about(event); if (node) showWhy(node); });
addEventListener("scroll", hideWhy, {passive: true});

sortRows(); showRows(); showCards(true);
redraw();
})();
