// The console's script: draws the charts, keeps what lives up to date, uploads files. The pages work without it, but
// for these.
"use strict";

const colours = () => {
  const style = getComputedStyle(document.documentElement);
  return (name) => style.getPropertyValue(`--${name}`).trim();
};

// A figure's colours are names of the sheet's: "one", "good". So they follow light and dark.
const coloured = (value, of) => {
  if (Array.isArray(value)) return value.map((one) => coloured(one, of));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, coloured(one, of)]));
  }
  return typeof value === "string" && value.startsWith("--") ? of(value.slice(2)) : value;
};

let library;
const plotly = () => library ??= new Promise((done, failed) => {
  const script = document.createElement("script");
  script.src = document.body.dataset.plotly;
  script.onload = () => done(window.Plotly);
  script.onerror = failed;
  document.head.append(script);
});

const axis = (of) => ({ gridcolor: of("line"), zerolinecolor: of("line"), linecolor: of("field"), automargin: true });

const draw = async (place) => {
  const data = place.querySelector("script");
  if (data) {
    place.figure = JSON.parse(data.textContent);
    data.remove();
  }
  if (!place.figure) return;
  const Plotly = await plotly();
  const of = colours();
  const figure = coloured(place.figure, of);
  const layout = {
    height: Number(place.dataset.height) || 300, margin: { l: 50, r: 15, t: 10, b: 40 },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest",
    font: { color: of("ink"), family: "system-ui, sans-serif", size: 12 },
    colorway: ["one", "two", "three", "four"].map(of), legend: { orientation: "h", y: 1.12 },
    ...figure.layout,
  };
  for (const name of Object.keys({ xaxis: 0, yaxis: 0, ...layout }).filter((key) => /^[xy]axis\d*$/.test(key))) {
    layout[name] = { ...axis(of), ...layout[name] };
  }
  await Plotly.react(place, figure.data, layout, { responsive: true, displayModeBar: false });
  place.dataset.drawn = "";
};

const drawAll = (within) => within.querySelectorAll(".plot").forEach((place) => draw(place));

// What lives is read again from its own page, as long as it says so, and put in place where it has changed.
const living = async () => {
  const parts = [...document.querySelectorAll("[data-live]")];
  if (!parts.length) return;
  if (document.visibilityState === "visible") {
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store" });
      const found = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (answer.ok) parts.forEach((part) => renew(part, found.getElementById(part.id)));
    } catch { /* the server is away for the moment */ }
  }
  setTimeout(living, 1000 * Number(parts[0].dataset.live));
};

const renew = (part, fresh) => {
  if (!fresh || (part.source ?? part.outerHTML) === fresh.outerHTML) return;
  const open = [...part.querySelectorAll("details")].map((one) => one.open);
  const log = part.querySelector(".log");
  const atEnd = !log || log.scrollTop + log.clientHeight >= log.scrollHeight - 20;
  const made = document.importNode(fresh, true);
  made.source = fresh.outerHTML;
  part.replaceWith(made);
  made.querySelectorAll("details").forEach((one, at) => { one.open = open[at] ?? one.open; });
  const newLog = made.querySelector(".log");
  if (newLog) newLog.scrollTop = atEnd ? newLog.scrollHeight : log.scrollTop;
  drawAll(made);
  if (made.dataset.says) document.getElementById("said").textContent = made.dataset.says;
};

const upload = (form) => form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const file = form.querySelector("input[type=file]").files[0];
  const said = form.querySelector("[role=status]");
  if (!file) { said.textContent = "Choose a file first."; return; }
  const request = new XMLHttpRequest();
  const name = form.querySelector("[name=prefix]").value + file.name;
  request.open("POST", `${form.action}?name=${encodeURIComponent(name)}`);
  request.setRequestHeader("content-type", "application/octet-stream");
  request.setRequestHeader("x-csrf", document.body.dataset.csrf);
  request.upload.onprogress = (now) => { said.textContent = `${Math.round(100 * now.loaded / now.total)}% is sent.`; };
  request.onload = () => request.status < 300 ? location.reload() : (said.textContent = request.responseText);
  request.onerror = () => { said.textContent = "The upload was cut off. Try again."; };
  request.send(file);
});

document.addEventListener("DOMContentLoaded", () => {
  for (const part of document.querySelectorAll("[data-live]")) part.source = part.outerHTML;
  for (const log of document.querySelectorAll("[data-live] .log")) log.scrollTop = log.scrollHeight;
  for (const box of document.querySelectorAll(".graph .here")) {
    const graph = box.closest(".graph"), at = box.getBoundingClientRect(), all = graph.getBoundingClientRect();
    graph.scrollLeft = at.left - all.left - (all.width - at.width) / 2;
    graph.scrollTop = at.top - all.top - (all.height - at.height) / 2;
  }
  drawAll(document);
  living();
  document.querySelectorAll("form[data-upload]").forEach(upload);
  document.querySelectorAll("form[data-ask]").forEach((form) => form.addEventListener("submit", (event) => {
    if (!confirm(form.dataset.ask)) event.preventDefault();
  }));
  document.querySelectorAll("form[data-keys] textarea").forEach((area) => area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) area.form.requestSubmit();
  }));
  document.querySelectorAll("form").forEach((form) => form.addEventListener("submit", (event) => {
    if (!event.defaultPrevented && form.method === "post") form.setAttribute("aria-busy", "true");
  }));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(document));
});
