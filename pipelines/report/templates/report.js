// The map that answers. Bokeh draws; this fills its cells, and the card beside it.
// Names come from the data of strangers: they reach the page through textContent only.
"use strict";
(async () => {
  const data = JSON.parse(document.getElementById("data-json").textContent);
  const NOTHING = -1;
  const byId = (id) => document.getElementById(id);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const centers = new Float32Array(bytes(data.centers)); // row, column of each cell in turn
  const clusters = new Int32Array(bytes(data.clusters));
  const hits = new Float32Array(bytes(data.hits));
  const count = hits.length;
  const decoded = new Map();
  const values = (layer) => {
    if (!decoded.has(layer)) decoded.set(layer, new Float32Array(bytes(data.layers[layer].values)));
    return decoded.get(layer);
  };

  const views = await Bokeh.embed.embed_item(JSON.parse(byId("map-json").textContent), "map");
  const plot = [...views.roots][0].model;
  const model = (name) => plot.document.get_model_by_name(name);
  const reach = Math.max(...data.outline.map(([row, col]) => Math.hypot(row, col)));
  const xs = [], ys = [];
  for (let i = 0; i < count; i++) {
    ys.push(data.outline.map(([row]) => centers[2 * i] + row));
    xs.push(data.outline.map(([, col]) => centers[2 * i + 1] + col));
  }

  const outlinesOf = (cells) => ({ xs: cells.map((i) => xs[i]), ys: cells.map((i) => ys[i]) });

  // ------------------------------------------------------------ small parts of a page

  const element = (tag, text, classes) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (classes) made.className = classes;
    return made;
  };
  const swatch = (cluster) => {
    const made = element("span", undefined, cluster >= 1 ? "swatch" : "swatch hatched");
    if (cluster >= 1) made.style.background = data.palettes.clusters[cluster - 1];
    return made;
  };
  const number = (value) => {
    if (!Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    const text = size >= 1000 && size < 1e6 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
    return text.replace("-", "−");
  };
  const percent = (share) => (share > 0 && share < 0.001 ? "under 0.1 %" : `${(100 * share).toFixed(1)} %`);
  const counted = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

  // ------------------------------------------------------------ layers

  let layer = 0;
  const select = byId("layer"), borders = byId("borders");
  const isClusters = () => data.layers[layer].palette === "clusters";

  function showLayer(next) {
    layer = next;
    select.value = String(next);
    const shown = data.layers[layer];
    const mapper = model("colors");
    const palette = data.palettes[shown.palette];
    const ends = isClusters() ? [0.5, palette.length + 0.5] : [shown.low, shown.high];
    const cell = model("cells_drawn").glyph;
    cell.line_color = isClusters() ? { value: "#ffffff80" } : cell.fill_color;
    mapper.setv({ palette: palette.length ? palette : ["#efefef"], low: ends[0], high: ends[1] });
    const value = values(layer), cells = [...value.keys()];
    const full = cells.filter((i) => !Number.isNaN(value[i])), empty = cells.filter((i) => Number.isNaN(value[i]));
    model("cells").data = { ...outlinesOf(full), value: full.map((i) => value[i]) };
    model("empty").data = outlinesOf(empty);
    borders.checked = isClusters();
    showBorders();
    showLegend(shown, palette);
    byId("layer-note").textContent = shown.note;
    refresh();
  }

  function showBorders() {
    for (const renderer of plot.renderers) {
      if (renderer.name === "borders" || renderer.name === "numbers") renderer.visible = borders.checked;
    }
  }

  function showLegend(shown, palette) {
    const legend = byId("legend");
    legend.replaceChildren();
    if (isClusters()) {
      palette.forEach((_, i) => {
        const button = element("button", String(i + 1));
        button.type = "button";
        button.setAttribute("aria-label", `Profile of cluster ${i + 1}`);
        button.prepend(swatch(i + 1));
        button.addEventListener("click", () => showProfile(i + 1));
        legend.append(button);
      });
    } else if (shown.ticks.length) {
      const ramp = element("span", undefined, "ramp"), bar = element("span", undefined, "gradient");
      bar.style.background = `linear-gradient(to right, ${palette.join(", ")})`;
      const ticks = element("span", undefined, "ticks");
      shown.ticks.forEach((tick) => ticks.append(element("span", tick)));
      ramp.append(bar, ticks);
      legend.append(ramp);
    } else {
      legend.append(element("span", "No values."));
    }
    if (shown.empty) {
      const entry = element("span", shown.empty, "entry");
      entry.prepend(swatch(NOTHING));
      legend.append(entry);
    }
  }

  // ------------------------------------------------------------ neurons

  let chosen = NOTHING, pointed = NOTHING;

  function neuronAt(x, y) {
    let best = NOTHING, least = reach * reach;
    for (let i = 0; i < count; i++) {
      const distance = (centers[2 * i] - y) ** 2 + (centers[2 * i + 1] - x) ** 2;
      if (distance < least) [best, least] = [i, distance];
    }
    return best;
  }

  function point(neuron) {
    if (neuron === pointed) return;
    pointed = neuron;
    model("pointed").data = outlinesOf(neuron === NOTHING ? [] : [neuron]);
    refresh();
  }

  function choose(neuron) {
    chosen = neuron;
    for (const name of ["chosen_halo", "chosen"]) model(name).data = outlinesOf(neuron === NOTHING ? [] : [neuron]);
    if (zoom > 1) look();
    refresh();
    if (neuron !== NOTHING && isClusters()) showProfile(clusters[neuron]);
  }

  function refresh() {
    const neuron = pointed !== NOTHING ? pointed : chosen;
    const card = byId("card");
    card.setAttribute("aria-live", pointed !== NOTHING ? "off" : "polite");
    if (neuron === NOTHING) return;
    card.replaceChildren(...cardOf(neuron));
  }

  function* cardOf(neuron) {
    yield element("h3", `Neuron in row ${Math.floor(neuron / data.columns)}, column ${neuron % data.columns}`);
    const size = hits[neuron] ? `${counted(hits[neuron], "row")}, ${percent(hits[neuron] / data.total)}` : "Empty: no training row fell here";
    yield element("p", size, "note");
    yield clusterLine(clusters[neuron]);
    const shown = data.layers[layer];
    if (layer < data.features[0].layer && !isClusters()) yield element("p", `${shown.name}: ${number(values(layer)[neuron])}`);
    yield featureTable(neuron);
    if (data.targets.length) yield targetTable(neuron);
  }

  function clusterLine(cluster) {
    const line = element("p");
    if (cluster < 1) {
      line.append(swatch(cluster), " In no cluster (noise)");
      return line;
    }
    const button = element("button", `Cluster ${cluster}`, "plain");
    button.type = "button";
    button.title = "Read its profile";
    button.addEventListener("click", () => showProfile(cluster));
    line.append(swatch(cluster), " ", button);
    return line;
  }

  function tableOf(heads, rows) {
    const table = element("table"), head = element("tr"), body = element("tbody"), top = element("thead");
    heads.forEach((text, i) => {
      const cell = element("th", text, i ? "number" : "");
      cell.scope = "col";
      head.append(cell);
    });
    top.append(head);
    for (const { cells: [name, ...cells], current } of rows) {
      const row = element("tr", undefined, current ? "current" : ""), first = element("th", name);
      first.scope = "row";
      row.append(first, ...cells.map((text) => element("td", text, "number")));
      body.append(row);
    }
    table.append(top, body);
    return table;
  }

  const MOST_FEATURES = 6;
  function featureTable(neuron) {
    const found = data.features.map(({ name, layer: own, mean, deviation, period }) => {
      const value = values(own)[neuron];
      let apart = value - mean;
      if (period) apart -= period * Math.round(apart / period); // the shorter way round
      return { name, value, away: deviation > 0 ? apart / deviation : 0, own };
    });
    found.sort((a, b) => (b.own === layer) - (a.own === layer) || Math.abs(b.away) - Math.abs(a.away));
    const rows = found.slice(0, MOST_FEATURES).map(({ name, value, away, own }) => {
      const sign = away >= 0 ? "+" : "−";
      return { cells: [name, number(value), `${sign}${Math.abs(away).toFixed(1)} σ`], current: own === layer };
    });
    return tableOf([found.length > MOST_FEATURES ? "Most unusual features" : "Features", "Weight", "From mean of rows"], rows);
  }

  function targetTable(neuron) {
    const rows = data.targets.map(({ name, mean, std }) => ({
      cells: [name, number(values(mean)[neuron]), number(values(std)[neuron])],
      current: layer === mean || layer === std,
    }));
    return tableOf(["Targets", "Mean of its rows", "Deviation"], rows);
  }

  function showProfile(cluster) {
    const panel = byId("profile");
    document.querySelectorAll(".profile.chosen").forEach((one) => one.classList.remove("chosen"));
    panel.hidden = cluster < 1;
    if (cluster < 1) return;
    const article = byId(`cluster-${cluster}`);
    article.classList.add("chosen");
    const copy = [...article.children].map((child) => child.cloneNode(true));
    panel.replaceChildren(...copy);
  }

  // ------------------------------------------------------------ pointing, touching, keys

  plot.on_event("mousemove", (event) => point(neuronAt(event.x, event.y)));
  plot.on_event("mouseleave", () => point(NOTHING));
  plot.on_event("tap", (event) => choose(neuronAt(event.x, event.y)));

  const busiest = hits.reduce((best, n, i) => (n > hits[best] ? i : best), 0);
  const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  function moved(neuron, [down, right]) {
    if (neuron === NOTHING) return busiest;
    let row = Math.floor(neuron / data.columns) + down, col = (neuron % data.columns) + right;
    if (data.torus) [row, col] = [(row + data.rows) % data.rows, (col + data.columns) % data.columns];
    return row < 0 || col < 0 || row >= data.rows || col >= data.columns ? neuron : row * data.columns + col;
  }
  byId("map").addEventListener("keydown", (event) => {
    if (!(event.key in STEPS)) return;
    event.preventDefault();
    choose(moved(chosen, STEPS[event.key]));
  });

  // ------------------------------------------------------------ zoom

  const whole = { x: [plot.x_range.start, plot.x_range.end], y: [plot.y_range.start, plot.y_range.end] };
  const MOST_ZOOM = 8;
  let zoom = 1;
  function look() {
    const center = chosen === NOTHING ? null : { x: centers[2 * chosen + 1], y: centers[2 * chosen] };
    for (const axis of ["x", "y"]) {
      const [start, end] = whole[axis];
      const half = (end - start) / 2 / zoom;
      const low = Math.min(start, end) + Math.abs(half), high = Math.max(start, end) - Math.abs(half);
      const middle = Math.min(Math.max(center ? center[axis] : (start + end) / 2, low), high);
      plot[`${axis}_range`].setv({ start: middle - half, end: middle + half });
    }
    byId("zoom-in").disabled = zoom >= MOST_ZOOM;
    byId("zoom-out").disabled = byId("zoom-reset").disabled = zoom === 1;
  }
  const zoomTo = (next) => { zoom = Math.min(Math.max(next, 1), MOST_ZOOM); look(); };
  byId("zoom-in").addEventListener("click", () => zoomTo(zoom * 2));
  byId("zoom-out").addEventListener("click", () => zoomTo(zoom / 2));
  byId("zoom-reset").addEventListener("click", () => zoomTo(1));

  // ------------------------------------------------------------ finding rows

  if (data.found) {
    const NO_NEURON = 65535;
    const neurons = new Uint16Array(bytes(data.found.neurons));
    const heldout = new Uint8Array(bytes(data.found.heldout));
    const seconds = data.found.seconds && new Uint32Array(bytes(data.found.seconds));
    const clock = (row) => new Date(1000 * (data.found.first + seconds[row])).toISOString().slice(0, 19).replace("T", " ");
    const find = (row) => {
      const neuron = neurons[row];
      const time = seconds ? `, ${clock(row)}` : "";
      const part = (heldout[row >> 3] >> (row & 7)) & 1 ? "held out" : "trained";
      const place = neuron === NO_NEURON ? "has no neuron: nothing is observed in it" : `row ${Math.floor(neuron / data.columns)}, column ${neuron % data.columns}`;
      byId("found").textContent = `Row ${(row * data.found.step).toLocaleString("en")}${time} (${part}): ${place}`;
      choose(neuron === NO_NEURON ? NOTHING : neuron);
    };
    byId("find-row").addEventListener("submit", (event) => {
      event.preventDefault();
      find(Math.min(Math.round(Number(byId("row-number").value) / data.found.step), data.found.count - 1));
    });
    if (seconds) {
      const input = byId("row-time"), iso = (second) => new Date(1000 * second).toISOString().slice(0, 19);
      input.min = iso(data.found.first);
      input.max = iso(data.found.first + seconds.reduce((a, b) => Math.max(a, b), 0));
      byId("find-time").addEventListener("submit", (event) => {
        event.preventDefault();
        const wanted = Date.parse(`${input.value}Z`) / 1000 - data.found.first;
        let best = 0;
        seconds.forEach((second, row) => { if (Math.abs(second - wanted) < Math.abs(seconds[best] - wanted)) best = row; });
        find(best);
      });
    }
  }

  // ------------------------------------------------------------ start

  select.addEventListener("change", () => showLayer(Number(select.value)));
  borders.addEventListener("change", showBorders);
  document.querySelectorAll("[data-layer]").forEach((button) => {
    button.addEventListener("click", () => {
      showLayer(Number(button.dataset.layer));
      byId("map-section").scrollIntoView();
      select.focus({ preventScroll: true });
    });
  });
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => (part.open = true)));
  look();
  showLayer(0);
  choose(busiest);
  document.documentElement.dataset.ready = "yes";
})();
