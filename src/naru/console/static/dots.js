// What was measured: a column a target, a dot a repeat, a line at the median, a bar for its interval.

const host = document.getElementById("plots");
const drawn = new Map(); // figure -> uPlot
let found = JSON.parse(host.dataset.found);

// Repeats stand beside one another, so that equal values do not hide each other.
const aside = (index, repeat, of) => index + ((repeat + 0.5) / of - 0.5) * 0.5;

const columns = (rows) => {
  const places = rows.map((row, index) => row.values.map((_, repeat) => aside(index, repeat, row.values.length)));
  const xs = places.flat();
  const series = rows.map((row, index) => places.flatMap((list, other) => list.map((_, at) => (index === other ? row.values[at] : null))));
  return [xs, ...series];
};

const intervals = (rows) => (plot) => {
  const { ctx } = plot;
  const at = (value, scale) => plot.valToPos(value, scale, true);
  ctx.save();
  rows.forEach((row, index) => {
    if (row.median == null) return;
    const [left, right] = [at(index - 0.3, "x"), at(index + 0.3, "x")];
    const [top, bottom] = [at(row.high, "y"), at(row.low, "y")];
    ctx.fillStyle = ctx.strokeStyle = COLOURS[index % COLOURS.length];
    ctx.globalAlpha = 0.22;
    ctx.fillRect(left, top - 1, right - left, Math.max(2, bottom - top + 2));
    ctx.globalAlpha = 1;
    ctx.lineWidth = 2.5 * devicePixelRatio;
    ctx.beginPath();
    ctx.moveTo(left, at(row.median, "y"));
    ctx.lineTo(right, at(row.median, "y"));
    ctx.stroke();
  });
  ctx.restore();
};

const short = (name) => (name.length > 14 ? `${name.slice(0, 13)}…` : name);

const options = (element, rows) => {
  const axis = axisOf(host);
  return {
    width: element.clientWidth,
    height: element.clientHeight,
    cursor: { show: false },
    legend: { show: false },
    scales: {
      x: { time: false, range: () => [-0.5, rows.length - 0.5] },
      y: { range: (_, least, most) => [0, (most || 1) * 1.12] },
    },
    axes: [
      { ...axis, grid: { show: false }, splits: () => rows.map((_, index) => index), values: () => rows.map((row) => short(row.name)), rotate: rows.length > 4 ? -40 : 0, size: rows.length > 4 ? 70 : 28 },
      { ...axis, size: 44 },
    ],
    series: [
      {},
      ...rows.map((_, index) => ({
        paths: () => null, stroke: COLOURS[index % COLOURS.length],
        points: { show: true, size: 6, width: 0, fill: COLOURS[index % COLOURS.length] },
      })),
    ],
    hooks: { drawClear: [intervals(rows)] },
  };
};

const figureOf = (measure) => host.querySelector(`[data-measure="${measure}"]`);

const draw = () => {
  for (const { measure } of found) figureOf(measure).hidden = false; // all of them, then each has its width
  for (const { measure, rows } of found) {
    const figure = figureOf(measure);
    drawn.get(figure)?.destroy();
    const place = figure.querySelector(".plot");
    drawn.set(figure, new uPlot(options(place, rows), columns(rows), place));
  }
};

document.addEventListener("DOMContentLoaded", draw); // until then the plots have no room: console.js gives it
whenLookChanges(host, draw);
document.getElementById("live")?.addEventListener("found", (event) => {
  if (event.detail.data === JSON.stringify(found)) return;
  found = JSON.parse(event.detail.data);
  draw();
});
