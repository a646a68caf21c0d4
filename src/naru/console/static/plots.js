// What all plots share: colours that both themes can bear, and those of the page's own style.

const COLOURS = ["#1a8a96", "#c77700", "#7a5cc4", "#c2456b", "#4c8a2c", "#3f74c9", "#9a6b3f", "#5d6f76"];

const ink = (host, name) => {
  const probe = document.createElement("i");
  probe.className = `ink-${name}`;
  host.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
};

const axisOf = (host) => ({
  stroke: ink(host, "muted"), grid: { stroke: ink(host, "line"), width: 1 }, ticks: { show: false }, font: "11px system-ui",
});

// Draw anew when the place gets another width, or the system another theme.
const whenLookChanges = (host, draw) => {
  let width = host.clientWidth;
  new ResizeObserver(() => {
    if (host.clientWidth === width) return;
    width = host.clientWidth;
    draw();
  }).observe(host);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
};
