"use strict";
// What a reader does with a report: switches curricula, chooses pools and learners, sorts and filters tables.
// Figures are drawn by Vega-Lite (vega.js). Text is set as text, never as HTML.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const off = new Set(data.off);
  const chosen = {};
  const views = [];

  // ---- tables

  const seen = (element) => {
    const set = element.dataset;
    return !(set.arm !== undefined && off.has(Number(set.arm)))
      && Object.entries(chosen).every(([name, value]) => value === "" || set[name] === undefined || set[name] === value);
  };

  const tables = [...document.querySelectorAll(".table")].map((part) => {
    const body = part.querySelector("tbody");
    const rows = [...body.rows];
    const search = part.querySelector("input[type=search]");
    const texts = new Map();
    const text = (row) => {
      if (!texts.has(row)) texts.set(row, [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase());
      return texts.get(row);
    };
    const show = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      for (const row of rows) {
        row.hidden = !(seen(row) && words.every((word) => text(row).includes(word)));
        count += !row.hidden;
      }
      part.querySelector(".count").textContent = `${count} of ${rows.length} rows`;
    };
    const key = (row, place) => {
      const cell = row.cells[place];
      if (cell.dataset.v === undefined) return cell.textContent;
      const value = Number(cell.dataset.v.replace("inf", "Infinity"));
      return cell.dataset.v === "" || Number.isNaN(value) ? null : value;
    };
    const heads = [...part.querySelectorAll("thead th")];
    heads.forEach((head, place) => head.querySelector("button").addEventListener("click", () => {
      const first = head.classList.contains("number") ? "descending" : "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? second : first;
      heads.forEach((other) => other.setAttribute("aria-sort", other === head ? order : "none"));
      const sign = order === "ascending" ? 1 : -1;
      const keys = new Map(rows.map((row) => [row, key(row, place)]));
      rows.sort((one, other) => {
        const [a, b] = [keys.get(one), keys.get(other)];
        if (a === null || b === null) return (a === null) - (b === null); // what is not known comes last
        return sign * (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
      });
      body.append(...rows);
    }));
    search.addEventListener("input", show);
    return show;
  });

  // ---- figures

  const rowsOf = (columns) => {
    const names = Object.keys(columns);
    return (columns[names[0]] || []).map((_, i) => Object.fromEntries(names.map((name) => [name, columns[name][i]])));
  };
  const compiled = {}; // by figure: the specification of Vega that the first of its panels made
  const options = {
    actions: false, renderer: "svg", ast: true, defaultStyle: false, tooltip: { disableDefaultStyle: true },
  };
  const draw = async ({ element, name, place }) => {
    const figure = data.figures[name];
    const rows = rowsOf(figure.panels[place].rows);
    const first = compiled[name] === undefined;
    const spec = structuredClone(first ? figure.spec : compiled[name]);
    if (first) spec.data.values = rows;
    else spec.data.find((one) => one.name === "rows").values = rows;
    const { view, vgSpec } = await vegaEmbed(element, spec, { ...options, mode: first ? "vega-lite" : "vega" });
    if (first) compiled[name] = vgSpec;
    element.querySelector("svg").setAttribute("aria-hidden", "true"); // its figure is described as a whole
    views.push(view);
    if (off.size) await view.signal("off", [...off]).runAsync();
  };

  const waiting = [...document.querySelectorAll(".plot")].map((element) => ({
    element, name: element.closest("figure").dataset.figure, place: Number(element.dataset.panel),
  }));
  const drawn = new Set();
  const once = (plot) => {
    if (drawn.has(plot)) return Promise.resolve();
    drawn.add(plot);
    return draw(plot);
  };
  const drawAll = async () => {
    const near = waiting.filter((plot) => plot.element.getBoundingClientRect().top < innerHeight);
    for (const plot of near) await once(plot);
    document.documentElement.dataset.drawn = "first";
    for (const plot of waiting) {
      await once(plot);
      await new Promise((next) => setTimeout(next)); // the page stays quick while the rest is drawn
    }
    document.documentElement.dataset.drawn = "all";
  };

  // ---- choices

  const update = () => {
    for (const show of tables) show();
    for (const part of document.querySelectorAll(".panel, .sample")) part.hidden = !seen(part);
    for (const view of views) {
      view.signal("off", [...off]).runAsync();
      view.resize().runAsync();
    }
  };
  const boxes = [...document.querySelectorAll("input[data-arm]")];
  const take = (box) => (box.checked ? off.delete(Number(box.dataset.arm)) : off.add(Number(box.dataset.arm)));
  for (const box of boxes) box.addEventListener("change", () => { take(box); update(); });
  for (const button of document.querySelectorAll("button[data-all]")) {
    button.addEventListener("click", () => {
      for (const box of boxes) { box.checked = button.dataset.all === "on"; take(box); }
      update();
    });
  }
  for (const select of document.querySelectorAll("select[data-filter]")) {
    select.addEventListener("change", () => { chosen[select.dataset.filter] = select.value; update(); });
  }
  if (matchMedia("(max-width: 45rem)").matches) {
    for (const part of document.querySelectorAll(".controls")) part.open = false;
  }
  addEventListener("beforeprint", () => { for (const part of document.querySelectorAll(".controls")) part.open = true; });
  update();
  drawAll();
})();
