// Draws the figures: data and captions come from the records, colours from the style sheet.
(() => {
  "use strict";
  const { looks, figures } = JSON.parse(document.getElementById("figures").textContent);
  const off = new Set();    // models switched off in a legend
  const logs = new Set();   // figures whose x axis is a logarithm
  const touch = matchMedia("(pointer: coarse)").matches;
  const config = { displaylogo: false, displayModeBar: touch ? false : "hover", plotlyServerURL: "",
                   modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] };  // and none that uploads
  let paper = false;        // whether the page is being printed

  const style = () => getComputedStyle(document.documentElement);
  const colour = (name) => style().getPropertyValue(name).trim();
  const hue = (model) => colour(`--hue-${looks[model].hue}`);

  function paint(trace, many, { xaxis, yaxis }) {
    const { model, role } = trace.meta;
    const base = { ...trace, showlegend: false };
    if (role === "front") return { ...base, mode: "lines", line: { color: colour("--line"), width: 1.5 } };
    if (role === "bar") {
      return { ...base, marker: { color: colour("--accent") }, textposition: "outside", cliponaxis: false,
               textfont: { color: colour("--ink") }, hovertemplate: "n = %{x}: %{text}<extra></extra>" };
    }
    const shown = { ...base, visible: !off.has(model) };
    const marker = { color: hue(model), symbol: looks[model].symbol, size: role === "end" ? 8 : 11 };
    const digits = yaxis?.type === "log" ? ".3g" : ".3f";
    const label = `<b>%{fullData.name}</b><br>${yaxis?.title.text}: %{y:${digits}}<br>${xaxis?.title.text}: %{x:.4s}<extra></extra>`;
    if (role === "rule") {
      return { ...shown, mode: "lines", hoverinfo: "skip", line: { color: hue(model), width: 1.2, dash: "dot" } };
    }
    if (role === "line") {
      return { ...shown, mode: "lines", opacity: many ? 0.75 : 1, hovertemplate: label,
               line: { color: hue(model), width: many ? 1.3 : 1.8, dash: looks[model].dash } };
    }
    if (role === "end") return { ...shown, mode: "markers", marker, hovertemplate: label };
    return { ...shown, mode: "markers", hovertemplate: label, marker,
             error_y: { ...trace.error_y, color: hue(model), thickness: 1.2, width: 4 } };
  }

  function axis(given, numbersOnly) {
    return { gridcolor: colour("--grid"), linecolor: colour("--line"), zeroline: false, showline: numbersOnly,
             ticks: numbersOnly ? "outside" : "", tickcolor: colour("--line"), ticklen: 4, fixedrange: false,
             ...given, title: { standoff: 8, font: { size: 12 }, ...(given || {}).title } };
  }

  function layoutOf(id, figure, width) {
    const x = axis(figure.layout.xaxis, true), y = axis(figure.layout.yaxis, false);
    if (logs.has(id)) Object.assign(x, { type: "log", rangemode: "normal", ...logTicks(figure) });
    const margin = { l: 58, r: 14, t: 8, b: 48 };
    const layout = {
      width, height: Math.round(Math.min(360, Math.max(270, width * 0.66))), margin, xaxis: x, yaxis: y,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest",
      font: { family: style().getPropertyValue("--sans"), size: 12, color: colour("--soft") },
      hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--ink") } },
      dragmode: touch ? false : "zoom", bargap: 0.35, modebar:
        { bgcolor: "rgba(0,0,0,0)", color: colour("--line"), activecolor: colour("--ink") },
    };
    if (figure.labels) layout.annotations = labels(figure, layout);
    return layout;
  }

  const compact = new Intl.NumberFormat("en", { notation: "compact" });
  function logTicks(figure) {
    const xs = figure.data.flatMap((trace) => trace.x).filter((x) => x > 0);
    const low = Math.min(...xs), high = Math.max(...xs), decades = Math.log10(high / low);
    const digits = decades > 3 ? [1] : decades > 1.5 ? [1, 3] : [1, 2, 5], ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
      digits.forEach((digit) => ticks.push(digit * 10 ** power));
    }
    const kept = ticks.filter((tick) => tick >= low * 0.9 && tick <= high * 1.1);
    return { tickvals: kept, ticktext: kept.map((tick) => compact.format(tick)) };
  }

  // Names beside the points, where they fit without covering a point or another name; a line leads to a far one.
  function labels(figure, { width, height, margin, xaxis, yaxis }) {
    const span = (range, size) => (value) => (value - range[0]) / (range[1] - range[0]) * size;
    const inner = { w: width - margin.l - margin.r, h: height - margin.t - margin.b };
    const across = span(xaxis.range, inner.w), up = span(yaxis.range, inner.h);
    const points = figure.data.filter((t) => t.meta.role === "point" && !off.has(t.meta.model))
      .map((t) => ({ trace: t, x: across(Math.log10(t.x[0])), y: inner.h - up(t.y[0]) }));
    const taken = points.map(({ x, y }) => [x - 7, y - 7, x + 7, y + 7]);
    const hit = (box, b) => b[0] < box[2] && box[0] < b[2] && b[1] < box[3] && box[1] < b[3];
    const places = [0, -1, 1, -2, 2, -3, 3].flatMap((dy) => [[1, dy], [-1, dy]]);
    const plain = document.createElement("textarea");
    const found = [];
    points.forEach(({ trace, x, y }, own) => {
      plain.innerHTML = trace.text[0];
      const w = plain.value.length * 6.4, h = 14;
      // beside a neighbour's mark a name could be taken for the neighbour's: it goes further off, on a line
      const crowded = (dx) => points.some((p, i) => i !== own && Math.abs(p.y - y) < 12
        && (p.x - x) * dx > -9 && Math.abs(p.x - x) < 18);
      for (const [dx, dy] of places) {
        if (dy === 0 && crowded(dx)) continue;
        const sx = dx * ((dy ? 22 : 12) + w / 2), sy = dy * 15, cx = x + sx, cy = y + sy;
        const box = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2];
        if (box[0] < 0 || box[1] < 0 || box[2] > inner.w || box[3] > inner.h) continue;
        if (taken.some((other, index) => index !== own && hit(box, other))) continue;
        taken.push(box);
        found.push({ x: Math.log10(trace.x[0]), y: trace.y[0], text: trace.text[0], ax: dx * (dy ? 22 : 12), ay: sy,
                     xanchor: dx > 0 ? "left" : "right", arrowhead: 0,
                     arrowwidth: dy ? 1 : 0.1, arrowcolor: dy ? hue(trace.meta.model) : "rgba(0,0,0,0)", standoff: 4,
                     borderpad: 1, font: { size: 11, color: colour("--ink") } });
        break;
      }
    });
    return found;
  }

  function draw(id) {
    const node = document.getElementById(id), figure = figures[id];
    const width = paper ? (node.closest(".one") ? 500 : 330) : Math.floor(node.clientWidth);
    if (!width) return;
    const many = figure.data.filter((t) => t.meta.role === "line").length > 8;
    Plotly.react(node, figure.data.map((trace) => paint(trace, many, figure.layout)), layoutOf(id, figure, width), config);
    node.dataset.width = width;
  }
  const drawAll = () => Object.keys(figures).forEach(draw);

  const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => {
    if (!paper && Math.abs(target.clientWidth - Number(target.dataset.width || 0)) > 1) draw(target.id);
  }));
  Object.keys(figures).forEach((id) => sizes.observe(document.getElementById(id)));
  window.seqstate.onTheme(drawAll);

  document.querySelectorAll(".legend button").forEach((button) => button.addEventListener("click", () => {
    const model = Number(button.dataset.model);
    if (!off.delete(model)) off.add(model);
    document.querySelectorAll(`.legend button[data-model="${model}"]`)
      .forEach((twin) => twin.setAttribute("aria-pressed", String(!off.has(model))));
    drawAll();
  }));
  document.querySelectorAll("[data-log]").forEach((button) => button.addEventListener("click", () => {
    const id = button.dataset.log;
    if (!logs.delete(id)) logs.add(id);
    button.setAttribute("aria-pressed", String(logs.has(id)));
    draw(id);
  }));

  // Paper is white and two figures wide, whatever the screen is.
  addEventListener("beforeprint", () => { paper = true; window.seqstate.apply("light"); });
  addEventListener("afterprint", () => { paper = false; window.seqstate.apply(); });
})();
