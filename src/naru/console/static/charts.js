// CPU and memory of each instance, ten minutes back from now, drawn from the page's own event stream.

const SPAN = 600;
const MIB = 1048576;
const host = document.getElementById("charts");
const samples = new Map(); // instance -> [{at, cpu, memory}]
const charts = [];

const aligned = (key) => {
  const times = [...new Set([...samples.values()].flat().map((sample) => sample.at))].sort((a, b) => a - b);
  const place = new Map(times.map((at, index) => [at, index]));
  const rows = [...samples.values()].map((list) => {
    const row = new Array(times.length).fill(undefined);
    for (const sample of list) row[place.get(sample.at)] = key === "memory" ? sample.memory / MIB : sample.cpu;
    return row;
  });
  return [times, ...rows];
};

const options = (element, key) => {
  const axis = axisOf(host);
  const digits = key === "memory" ? 1 : 3;
  const shown = (value) => (value == null ? "–" : value.toFixed(digits));
  return {
    width: element.clientWidth,
    height: element.clientHeight - 44,
    cursor: { y: false },
    legend: { live: true },
    scales: {
      x: { time: true, range: (_, least, most) => [Math.min(least ?? 0, (most ?? 0) - 60), most ?? 0] },
      y: { range: (_, least, most) => [0, Math.max((most ?? 0) * 1.15, key === "memory" ? 4 : 0.01)] },
    },
    axes: [
      { ...axis, values: (_, ticks) => ticks.map((at) => clock.format(at * 1000)) },
      { ...axis, size: 48, values: (_, ticks) => ticks.map((tick) => Number(tick.toFixed(digits))) },
    ],
    series: [
      { value: (_, at) => (at == null ? "–" : clock.format(at * 1000)), label: "" },
      ...[...samples.keys()].map((instance, index) => ({
        label: instance.length > 20 ? `…${instance.slice(-19)}` : instance, stroke: COLOURS[index % COLOURS.length], width: 1.75,
        points: { show: false }, spanGaps: true, value: (_, value) => shown(value),
        dash: index >= COLOURS.length ? [6, 4] : undefined,
      })),
    ],
  };
};
const clock = new Intl.DateTimeFormat(document.documentElement.lang, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

// The legend says what the cursor is at, and without one what is newest.
const newest = (plot) => {
  if (plot.cursor.idx == null) plot.setLegend({ idx: plot.data[0].length - 1 });
};

const draw = (again) => {
  for (const element of host.querySelectorAll("[data-chart]")) {
    const key = element.dataset.chart;
    const known = charts.find((chart) => chart.element === element);
    if (known && !again) {
      known.plot.setData(aligned(key));
      newest(known.plot);
      continue;
    }
    known?.plot.destroy();
    const plot = new uPlot(options(element, key), aligned(key), element);
    newest(plot);
    if (known) known.plot = plot;
    else charts.push({ element, plot });
  }
};

document.getElementById("live").addEventListener("usage", (event) => {
  const fresh = JSON.parse(event.detail.data);
  let changed = charts.length === 0;
  const now = Math.max(...fresh.map((item) => item.at));
  for (const { instance, at, cpu, memory } of fresh) {
    if (!samples.has(instance)) { samples.set(instance, []); changed = true; }
    samples.get(instance).push({ at: Math.round(at), cpu, memory });
  }
  for (const [instance, list] of samples) {
    while (list.length && list[0].at < now - SPAN) list.shift();
    if (!list.length) { samples.delete(instance); changed = true; }
  }
  if (fresh.length) draw(changed);
});

whenLookChanges(host, () => { if (charts.length) draw(true); });
