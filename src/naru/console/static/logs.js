// Log lines as they are written. The page keeps the last few thousand and follows the end unless the reader scrolls up.

const KEPT = 4000;
const box = document.getElementById("log");
const state = document.getElementById("log-state");
const pause = document.getElementById("pause");
const held = [];
let paused = false;
let following = true;

const add = (lines) => {
  const fragment = document.createDocumentFragment();
  for (const [at, instance, stream, text] of lines) {
    const row = document.createElement("div");
    if (stream === "stderr") row.className = "stderr";
    for (const [tag, content] of [["time", at], ["b", instance.length > 12 ? `…${instance.slice(-11)}` : instance], ["span", text]]) {
      const cell = document.createElement(tag);
      cell.textContent = content;
      row.append(cell);
    }
    fragment.append(row);
  }
  box.append(fragment);
  while (box.childElementCount > KEPT) box.firstElementChild.remove();
  if (following) box.scrollTop = box.scrollHeight;
};

const source = new EventSource(box.dataset.stream);
state.textContent = box.dataset.waiting;
source.addEventListener("lines", (event) => {
  state.textContent = "";
  const lines = JSON.parse(event.data);
  if (paused) {
    held.push(...lines);
    if (held.length > KEPT) held.splice(0, held.length - KEPT);
    pause.textContent = `${pause.dataset.resume} (${held.length})`;
  } else {
    add(lines);
  }
});
source.addEventListener("problem", (event) => { state.textContent = JSON.parse(event.data); });
source.onerror = () => { state.textContent = box.dataset.lost; };
source.onopen = () => { if (state.textContent === box.dataset.lost) state.textContent = ""; };

box.addEventListener("scroll", () => {
  following = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
});
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? pause.dataset.resume : pause.dataset.pause;
  if (!paused) add(held.splice(0));
});
addEventListener("pagehide", () => source.close());
