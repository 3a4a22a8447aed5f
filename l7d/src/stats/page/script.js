"use strict";
// The page is complete without this: it filters as you type, keeps the numbers fresh, and draws what it saw.
const main = document.querySelector("main");
const box = document.querySelector("input[name=scope]");
const live = document.querySelector("#live");
const say = document.querySelector("#say");
const seen = new Map();
const MOST = 60;
const EVERY = 2000;

function filter() {
  const text = box.value.toLowerCase();
  for (const body of main.querySelectorAll("tbody")) {
    const whole = body.dataset.n.toLowerCase().includes(text);
    let any = whole;
    for (const row of body.rows) {
      row.hidden = !whole && !row.cells[1].textContent.toLowerCase().includes(text);
      any = any || !row.hidden;
    }
    body.hidden = !any;
  }
}

function line(values, most) {
  const point = (value, place) => `${(place * 100) / (MOST - 1)},${(20 - (value * 20) / most).toFixed(1)}`;
  const shape = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  shape.setAttribute("points", values.map(point).join(" "));
  return shape;
}

function draw() {
  for (const row of main.querySelectorAll("tr[data-k]")) {
    const past = seen.get(row.dataset.k) || [];
    past.push(row.dataset.v.split(" ").map(Number));
    if (past.length > MOST) past.shift();
    seen.set(row.dataset.k, past);
    const chart = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    chart.setAttribute("viewBox", "0 0 100 20");
    chart.setAttribute("preserveAspectRatio", "none");
    const most = (...places) => Math.max(1, ...past.flatMap((values) => places.map((place) => values[place])));
    // Both latencies are drawn to one scale.
    const scales = [most(0), most(1, 2), most(1, 2)];
    chart.append(...scales.map((scale, place) => line(past.map((values) => values[place]), scale)));
    row.cells[row.cells.length - 1].replaceChildren(chart);
  }
}

async function refresh() {
  // What is being chosen is not taken away.
  if (document.hidden || !live.checked || main.querySelector('form.do :focus, form.do option:checked:not([value=""])')) return;
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const next = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
    main.replaceChildren(...next.childNodes);
    draw();
    filter();
    say.textContent = "";
  } catch (error) {
    say.textContent = `These numbers are old: ${error.message}`;
  }
}

document.querySelector("#tools").hidden = false;
box.addEventListener("input", filter);
main.addEventListener("submit", (event) => {
  const form = event.target;
  const what = form.elements.action.selectedOptions[0].textContent;
  if (!confirm(`${form.elements.b.value}/${form.elements.s.value}: ${what}?`)) event.preventDefault();
});
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
draw();
filter();
setInterval(refresh, EVERY);
