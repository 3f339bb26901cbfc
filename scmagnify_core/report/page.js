/* The choosers, the table and the two interactive figures. Data come as JSON in the page; nothing is fetched. */
(function () {
  "use strict";
  const data = JSON.parse(document.getElementById("report-data").textContent);
  document.documentElement.classList.add("js");
  const at = (id) => document.getElementById(id);
  // Plotly reads tags in its texts.
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const ACTIVATES = "#D55E00", REPRESSES = "#0072B2", INK = "#1f2a33", QUIET = "#5a6872", LINE = "#d9e0e5";
  const GROUPS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"];
  // Purple below 0, orange above, as the drawn heat maps; grey, not white, in the middle: dots lie on white.
  const DIVERGING = [
    [0, "#2d004b"], [0.2, "#6a51a3"], [0.38, "#b2abd2"], [0.5, "#dddddd"], [0.62, "#fdb863"], [0.8, "#e08214"],
    [1, "#7f3b08"],
  ];
  const FONT = { family: getComputedStyle(document.body).fontFamily, size: 13, color: INK };
  // One button alone, to keep the picture: by default Plotly also offers to send the data to its own server.
  const CONFIG = {
    responsive: true, displaylogo: false, scrollZoom: false, showSendToCloud: false, plotlyServerURL: "",
    modeBarButtons: [["toImage"]], toImageButtonOptions: { format: "svg" },
  };
  const isNarrow = () => window.innerWidth < 720;
  const LABEL = { bgcolor: "#fff", bordercolor: LINE, font: Object.assign({}, FONT, { size: 13 }), align: "left" };

  /* ------------------------------------------------------------------ the network around a gene */

  const network = data.network;
  const genes = new Map(network.genes.map((gene, index) => [gene, index]));
  const lower = new Map(network.genes.map((gene) => [gene.toLowerCase(), gene]));

  /* Edges of one side, the shortest lag outermost and the longest in the middle: then no line crosses a gene. */
  function arrange(edges) {
    const order = edges.slice().sort((a, b) => network.lag[a] - network.lag[b] || a - b);
    const rows = new Array(order.length);
    let top = 0, bottom = order.length - 1;
    order.forEach((edge, place) => { if (place % 2) rows[bottom--] = edge; else rows[top++] = edge; });
    return rows;
  }

  function describe(edge) {
    const number = (value) => (value === null ? "unknown" : String(value));
    return (
      "<b>" + plain(network.genes[network.source[edge]]) + " → " + plain(network.genes[network.target[edge]]) + "</b>" +
      (network.signed[edge] >= 0 ? " (activates)" : " (represses)") +
      "<br>rank " + network.rank[edge] + ", score " + number(network.score[edge]) +
      "<br>lag " + number(network.lag[edge]) + " steps" +
      "<br>p-value " + number(network.p[edge]) + ", FDR " + number(network.fdr[edge]) +
      "<br>stability " + (network.stability[edge] === null ? "unknown" : Math.round(100 * network.stability[edge]) + " % of seeds") +
      (network.selected[edge] ? "" : "<br>not among the selected edges")
    );
  }

  function drawNetwork(gene) {
    const index = genes.get(gene), figure = at("network-figure");
    const ins = [], outs = [];
    network.source.forEach((source, edge) => {
      if (source === index && outs.length < network.shown.targets) outs.push(edge);
      if (network.target[edge] === index && ins.length < network.shown.regulators) ins.push(edge);
    });
    const all = ins.concat(outs);
    const most = Math.max.apply(null, all.map((edge) => network.score[edge]).concat([1e-9]));
    const reach = Math.max.apply(null, all.map((edge) => network.lag[edge]).concat([1])) ;
    const traces = [], nodes = { x: [], y: [], text: [], position: [], color: [], hover: [], gene: [] };
    [[ins, -1], [outs, 1]].forEach(([edges, side]) => {
      const rows = arrange(edges);
      rows.forEach((edge, row) => {
        const x = side * network.lag[edge];
        const y = rows.length === 1 ? 0 : 1 - (2 * row) / (rows.length - 1);
        const color = network.signed[edge] >= 0 ? ACTIVATES : REPRESSES;
        const other = network.genes[side < 0 ? network.source[edge] : network.target[edge]];
        traces.push({
          x: [0, x], y: [0, y], mode: "lines", hoverinfo: "skip", showlegend: false, opacity: 0.75,
          line: { color: color, width: 1 + (5 * network.score[edge]) / most, dash: network.selected[edge] ? "solid" : "dot" },
        });
        nodes.x.push(x); nodes.y.push(y); nodes.text.push(plain(other)); nodes.color.push(color);
        nodes.position.push(side < 0 ? "middle left" : "middle right");
        nodes.hover.push(describe(edge)); nodes.gene.push(other);
      });
    });
    traces.push({
      x: nodes.x, y: nodes.y, mode: "markers+text", text: nodes.text, textposition: nodes.position,
      customdata: nodes.gene, hovertext: nodes.hover, hoverinfo: "text", showlegend: false, cliponaxis: false,
      textfont: { size: isNarrow() ? 11 : 13 }, marker: { size: 11, color: nodes.color, line: { color: "#fff", width: 1.5 } },
    });
    traces.push({
      x: [0], y: [0], mode: "markers", hoverinfo: "skip", showlegend: false, cliponaxis: false,
      marker: { size: 20, color: INK, line: { color: "#fff", width: 2 } },
    });
    const rows = Math.max(ins.length, outs.length, 6), room = isNarrow() ? 0.75 : 0.35;
    const left = ins.length ? -reach * (1 + room) : -reach * 0.25, right = outs.length ? reach * (1 + room) : reach * 0.25;
    const ticks = [];
    for (let lag = -Math.ceil(reach); lag <= Math.ceil(reach); lag++) {
      if ((lag <= 0 || outs.length) && (lag >= 0 || ins.length)) ticks.push(lag);
    }
    const note = (x, text, anchor) => ({
      xref: "paper", yref: "paper", x: x, y: 1, yanchor: "bottom", xanchor: anchor, text: text, showarrow: false,
      font: { size: 12, color: QUIET },
    });
    const side = (count, shown, what) => (count > shown ? shown + " of " + count.toLocaleString("en") + " " : "") + what;
    const layout = {
      font: FONT, height: 122 + 23 * rows, margin: { l: 8, r: 8, t: 52, b: 62 }, hovermode: "closest", dragmode: false,
      plot_bgcolor: "#fff", paper_bgcolor: "#fff", hoverlabel: LABEL,
      xaxis: {
        range: [left, right], tickvals: ticks, ticktext: ticks.map((lag) => String(Math.abs(lag))), zeroline: false,
        gridcolor: "#eef2f4", title: { text: "lag between cause and effect (steps)", font: { size: 12, color: QUIET } },
      },
      yaxis: { visible: false, range: [-1.18, 1.22] },
      annotations: [
        { x: 0, y: 0, yshift: 20, text: "<b>" + plain(gene) + "</b>", showarrow: false, font: { size: 16 }, bgcolor: "rgba(255,255,255,.85)" },
      ].concat(
        ins.length ? [note(0, "← " + side(network.n_in[index], ins.length, "candidate TFs"), "left")] : [],
        outs.length ? [note(1, side(network.n_out[index], outs.length, "candidate targets") + " →", "right")] : []
      ),
    };
    Plotly.react(figure, traces, layout, CONFIG);
    figure.dataset.gene = gene;
    at("gene-note").textContent =
      (network.n_out[index] ? network.n_out[index].toLocaleString("en") + " candidate targets" : "regulates no gene here") + "; " +
      (network.n_in[index] ? network.n_in[index].toLocaleString("en") + " candidate TFs" : "no TF is a candidate for it");
  }

  function choose(text) {
    const gene = genes.has(text) ? text : lower.get(text.trim().toLowerCase());
    if (gene === undefined) {
      if (text.trim()) at("gene-note").textContent = "There is no edge of that name.";
      return;
    }
    if (at("network-figure").dataset.gene !== gene) drawNetwork(gene);
  }

  if (at("network-figure")) {
    const field = at("gene");
    choose(network.first);
    field.addEventListener("input", () => choose(field.value));
    field.addEventListener("focus", () => field.select());
    at("network-figure").on("plotly_click", (event) => {
      const gene = event.points[0].customdata;
      if (gene === undefined) return;
      field.value = gene;
      choose(gene);
    });
    document.querySelectorAll("button[data-gene]").forEach((button) =>
      button.addEventListener("click", () => { field.value = button.dataset.gene; choose(button.dataset.gene); })
    );
  }

  /* ------------------------------------------------------------------ activity on the embedding */

  const cells = data.embedding;

  function unpack(packed) {
    const raw = atob(packed.data), steps = Math.pow(256, packed.bytes) - 1, values = [];
    for (let place = 0; place < raw.length; place += packed.bytes) {
      let code = 0;
      for (let byte = packed.bytes - 1; byte >= 0; byte--) code = 256 * code + raw.charCodeAt(place + byte);
      values.push(packed.low + ((packed.high - packed.low) * code) / steps);
    }
    return values;
  }

  function drawActivity(x, y, time, number) {
    const chosen = cells.values[number], values = unpack(chosen);
    const size = isNarrow() ? 3.5 : Math.max(4, Math.min(7, 260 / Math.sqrt(values.length)));
    const scale = { colorscale: DIVERGING, cmin: chosen.low, cmax: chosen.high };
    const bare = { visible: true, showticklabels: false, showgrid: false, zeroline: false, ticks: "", linecolor: LINE, mirror: true };
    const layout = (more) => Object.assign({
      font: FONT, height: isNarrow() ? 340 : 430, margin: { l: 46, r: 10, t: 40, b: 46 }, hovermode: "closest",
      hoverlabel: LABEL, plot_bgcolor: "#fff", paper_bgcolor: "#fff", dragmode: false,
    }, more);
    const top = chosen.trend.length > 1 ? 66 : 40;
    const title = (text) => ({ text: text, x: 0.02, xanchor: "left", yref: "container", y: 0.96, font: { size: 15 } });
    Plotly.react(at("embedding-figure"), [{
      x: x, y: y, mode: "markers", hoverinfo: "text",
      hovertext: values.map((value, cell) =>
        "activity " + value.toFixed(1) + "<br>pseudotime " + time[cell].toPrecision(3) +
        (cells.groups && cells.groups.codes[cell] >= 0 ? "<br>" + plain(cells.groups.names[cells.groups.codes[cell]]) : "")),
      marker: Object.assign({ size: size, color: values, showscale: true,
        colorbar: { title: { text: "activity (t)", side: "right" }, thickness: 12, len: 0.8, outlinewidth: 0 } }, scale),
    }], layout({
      title: title((chosen.kind === "TF" ? "TF " : "") + plain(chosen.name) + " on the embedding"),
      xaxis: Object.assign({ title: { text: "embedding 1" } }, bare), yaxis: Object.assign({ title: { text: "embedding 2" } }, bare),
      margin: { l: 34, r: 10, t: top, b: 46 },
    }), CONFIG);
    const lines = chosen.trend.map((trend, place) => ({
      x: trend.time, y: trend.mean, mode: "lines", name: plain(trend.lineage), showlegend: chosen.trend.length > 1,
      line: { color: GROUPS[place % GROUPS.length], width: 3, dash: place < GROUPS.length ? "solid" : "dash" },
      hovertemplate: "pseudotime %{x:.3g}<br>mean activity %{y:.2f}<extra>" + plain(trend.lineage) + "</extra>",
    }));
    Plotly.react(at("trend-figure"), [{
      x: time, y: values, mode: "markers", hoverinfo: "skip", showlegend: false,
      marker: { size: 3, color: "#b9c4cb", opacity: 0.55 },
    }].concat(lines), layout({
      title: title("and along pseudotime (lines: means of cells)"),
      xaxis: { title: { text: "pseudotime" }, gridcolor: "#eef2f4", zeroline: false },
      yaxis: { title: { text: "activity (t)" }, gridcolor: "#eef2f4", zerolinecolor: "#9fb0bb" },
      legend: { orientation: "h", x: 0, y: 1.0, yanchor: "bottom" },
      margin: { l: 50, r: 10, t: top, b: 46 },
    }), CONFIG);
    at("embedding-figure").dataset.name = chosen.name;
  }

  if (at("embedding-figure")) {
    const x = unpack(cells.x), y = unpack(cells.y), time = unpack(cells.time), field = at("activity-name");
    const draw = () => drawActivity(x, y, time, Number(field.value));
    field.addEventListener("change", draw);
    draw();
  }

  /* ------------------------------------------------------------------ RegFactors, one at a time */

  const tabs = Array.from(document.querySelectorAll("[role=tab]"));
  function show(tab) {
    tabs.forEach((one) => {
      one.setAttribute("aria-selected", String(one === tab));
      one.tabIndex = one === tab ? 0 : -1;
      at(one.getAttribute("aria-controls")).hidden = one !== tab;
    });
  }
  tabs.forEach((tab, place) => {
    tab.addEventListener("click", () => show(tab));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = tabs[(place + step + tabs.length) % tabs.length];
      show(next);
      next.focus();
    });
  });
  if (tabs.length) show(tabs[0]);

  /* ------------------------------------------------------------------ the table of edges */

  const table = at("edge-table");
  if (table) {
    const body = table.tBodies[0], rows = Array.from(body.rows), headers = Array.from(table.tHead.rows[0].cells);
    const value = (row, column) => {
      const cell = row.cells[column], number = cell.dataset.value;
      if (number !== undefined) return Number(number);
      const text = cell.textContent;
      return text !== "" && !Number.isNaN(Number(text)) ? Number(text) : text.toLowerCase();
    };
    headers.forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-label", "Sort by " + header.textContent);
      header.appendChild(button);
      header.addEventListener("click", () => {
        const down = header.getAttribute("aria-sort") === "ascending";
        headers.forEach((one) => one.removeAttribute("aria-sort"));
        header.setAttribute("aria-sort", down ? "descending" : "ascending");
        rows.sort((a, b) => {
          const first = value(a, column), second = value(b, column);
          const order = typeof first === typeof second ? (first < second ? -1 : first > second ? 1 : 0) : typeof first === "number" ? -1 : 1;
          return down ? -order : order;
        });
        rows.forEach((row) => body.appendChild(row));
      });
    });
    const search = at("search");
    search.addEventListener("input", () => {
      const wanted = search.value.trim().toLowerCase();
      let count = 0;
      rows.forEach((row) => {
        const found = !wanted || [1, 2].some((column) => row.cells[column].textContent.toLowerCase().includes(wanted));
        row.hidden = !found;
        if (found) count += 1;
      });
      at("search-note").textContent = wanted ? count + " of " + rows.length + " edges" : "";
    });
  }
})();
