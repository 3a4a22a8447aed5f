"use strict";
// The page is complete without this: it filters as you type, keeps the numbers fresh, draws what it saw, and asks before it changes something.
const main = document.querySelector("main");
const box = document.querySelector("input[name=scope]");
const live = document.querySelector("#live");
const say = document.querySelector("#say");
const form = document.querySelector("#do");
const seen = new Map();
const shown = new Set();
const MOST = 60;
const EVERY = 2000;
// Charts are drawn where somebody looks, so that thousands of servers cost no more than a screen of them.
const watcher = new IntersectionObserver((changes) => {
  for (const { target, isIntersecting } of changes) {
    if (!isIntersecting) shown.delete(target);
    else {
      shown.add(target);
      draw(target);
    }
  }
});

function rows(of) {
  return [...of.querySelectorAll("tr[data-k]")];
}

function filter() {
  const text = box.value.toLowerCase();
  for (const body of main.querySelectorAll("tbody")) {
    const whole = body.dataset.n.toLowerCase().includes(text);
    let any = whole;
    for (const row of body.rows) {
      row.hidden = !whole && !row.cells[0].textContent.toLowerCase().includes(text);
      any = any || !row.hidden;
    }
    body.hidden = !any;
  }
}

function line(values, most) {
  // What is new stands at the right.
  const point = (value, place) => `${((place + MOST - values.length) * 100) / (MOST - 1)},${(20 - (value * 20) / most).toFixed(1)}`;
  const shape = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  shape.setAttribute("points", values.map(point).join(" "));
  return shape;
}

function draw(row) {
  const past = seen.get(row.dataset.k);
  if (!past) return;
  const chart = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  chart.setAttribute("viewBox", "0 0 100 20");
  chart.setAttribute("preserveAspectRatio", "none");
  const most = (...places) => Math.max(1, ...past.flatMap((values) => places.map((place) => values[place])));
  // Both latencies are drawn to one scale.
  const scales = [most(0), most(1, 2), most(1, 2)];
  chart.append(...scales.map((scale, place) => line(past.map((values) => values[place]), scale)));
  row.cells[row.cells.length - 1].replaceChildren(chart);
}

function remember() {
  const there = new Map();
  for (const row of rows(main)) {
    const past = seen.get(row.dataset.k) || [];
    past.push((row.dataset.v || "0 0 0").split(" ").map(Number));
    if (past.length > MOST) past.shift();
    there.set(row.dataset.k, past);
  }
  seen.clear();
  there.forEach((past, key) => seen.set(key, past));
  shown.forEach(draw);
}

function ticks() {
  return [...main.querySelectorAll("input[name=s]")];
}

function ticked() {
  return ticks().filter((tick) => tick.checked);
}

// Brings one row up to date; its first cell has what is ticked, its last the chart.
function update(row, next) {
  if (row.className !== next.className) row.className = next.className;
  row.dataset.v = next.dataset.v || "0 0 0";
  row.cells[0].title = next.cells[0].title;
  for (let place = 1; place < row.cells.length - 1; place++) {
    const text = next.cells[place].textContent;
    if (row.cells[place].textContent !== text) row.cells[place].textContent = text;
  }
}

// Takes the place of what is shown: cell by cell where the rows are the same, so that nobody is disturbed, and whole where they are not.
function merge(next) {
  const [old, fresh] = [rows(main), rows(next)];
  const name = (row) => `${row.dataset.k} ${row.cells[0].textContent}`;
  if (old.length === fresh.length && old.every((row, place) => name(row) === name(fresh[place]))) {
    old.forEach((row, place) => update(row, fresh[place]));
    for (const part of ["#sum", "#rest"]) main.querySelector(part).replaceWith(next.querySelector(part));
    return;
  }
  const kept = new Set(ticked().map((tick) => tick.value));
  main.replaceChildren(...next.childNodes);
  ticks().forEach((tick) => (tick.checked = kept.has(tick.value)));
  watch();
}

function watch() {
  shown.clear();
  watcher.disconnect();
  rows(main).forEach((row) => watcher.observe(row));
}

async function refresh() {
  const began = performance.now();
  if (!document.hidden && live.checked) {
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      merge(new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main"));
      remember();
      filter();
      say.textContent = "";
    } catch (error) {
      say.textContent = `These numbers are old: ${error.message}`;
    }
  }
  // A page that takes long is asked for less often.
  setTimeout(refresh, Math.max(EVERY, 5 * (performance.now() - began)));
}

// Asks before servers are changed.
function ask(event) {
  const names = ticked().map((tick) => (tick.value.endsWith("/*") ? `all servers of ${tick.value.slice(0, -2)}` : tick.value));
  const what = form.elements.action.selectedOptions[0].textContent;
  const more = names.length > 5 ? ` and ${names.length - 5} more` : "";
  if (names.length === 0) say.textContent = "No server is ticked.";
  if (names.length === 0 || !confirm(`${names.slice(0, 5).join(", ")}${more}: ${what}?`)) event.preventDefault();
}

document.querySelector("#tools").hidden = false;
document.querySelector("#tools").addEventListener("submit", (event) => event.preventDefault());
box.addEventListener("input", filter);
if (form) form.addEventListener("submit", ask);
remember();
watch();
filter();
setTimeout(refresh, EVERY);
