// Makes the server's pages quicker to use; every form works without it.

document.documentElement.classList.add("scripted");

// The server writes dates in the zone of whoever reads them.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone) document.cookie = `naru_zone=${zone}; path=/; max-age=31536000; samesite=lax`;

const token = document.body.dataset.csrf;

// What the reader opened stays open when the server sends a part anew.
htmx.registerExtension("naru", {
  htmx_before_morph_attr: (element, detail) => detail.attrName !== "open",
});
document.addEventListener("htmx:config:request", (event) => {
  event.detail.ctx.request.headers["X-CSRF-Token"] = token;
});

document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-dialog]");
  const dialog = link && document.getElementById(link.dataset.dialog);
  if (dialog && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    dialog.showModal();
    dialog.querySelector("input:not([type=hidden])")?.select();
  }
  event.target.closest("[data-close]")?.closest("dialog").close();

  const adder = event.target.closest("[data-adds]");
  if (adder) {
    const row = document.getElementById(adder.dataset.adds).content.cloneNode(true);
    const first = row.querySelector("input");
    adder.before(row);
    first.focus();
  }

  const copier = event.target.closest("[data-copy]");
  if (copier) {
    navigator.clipboard.writeText(document.getElementById(copier.dataset.copy).textContent).then(() => {
      copier.querySelector("span").textContent = copier.dataset.copied;
    });
  }
});

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submits]")) event.target.form.requestSubmit();
});

// A form that is under way is not sent twice.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.matches("[hx-post]") || form.method === "get") return;
  if (form.dataset.sent) event.preventDefault();
  else if (form.method !== "dialog") form.dataset.sent = "yes";
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// Durations of what is still going on.
const spoken = (seconds) => {
  const unit = (value, name, digits) =>
    new Intl.NumberFormat(document.documentElement.lang, {
      style: "unit", unit: name, unitDisplay: "short", minimumFractionDigits: digits, maximumFractionDigits: digits,
    }).format(value);
  if (seconds < 60) return unit(seconds, "second", 1).replace("sec", "s");
  return `${unit(Math.floor(seconds / 60), "minute", 0)} ${unit(Math.floor(seconds % 60), "second", 0).replace("sec", "s")}`;
};
const skew = Date.now() / 1000 - Number(document.body.dataset.now || Date.now() / 1000);
setInterval(() => {
  for (const element of document.querySelectorAll(".ticking")) {
    element.textContent = spoken(Math.max(0, Date.now() / 1000 - skew - Number(element.dataset.since)));
  }
}, 500);

// Archives go up as they are, with a bar; the answer names the images that they held.
const upload = (box, file) => {
  const bar = box.querySelector("progress");
  const said = box.querySelector("output");
  const failed = (text) => { bar.hidden = true; said.textContent = text; };
  const request = new XMLHttpRequest();
  request.upload.onprogress = (event) => {
    bar.value = event.total ? event.loaded / event.total : 0;
    said.textContent = event.loaded === event.total ? box.dataset.checking : `${Math.floor(bar.value * 100)} %`;
  };
  request.onerror = () => failed(box.dataset.failed);
  request.onload = () => {
    let answer;
    try { answer = JSON.parse(request.responseText); } catch { return failed(box.dataset.failed); }
    if (request.status !== 200) return failed(answer.mend ? `${answer.cause}; ${answer.mend}` : answer.cause);
    if (box.dataset.upload === "reload") return location.assign("/images?notice=image-loaded");
    failed(answer.references.join(", "));
    const image = document.getElementById("image");
    image.value = answer.references[0] ?? image.value;
  };
  request.open("PUT", "/images");
  request.setRequestHeader("X-CSRF-Token", token);
  request.setRequestHeader("Content-Type", "application/x-tar");
  bar.value = 0;
  bar.hidden = false;
  request.send(file);
};
for (const box of document.querySelectorAll("[data-upload]")) {
  const input = box.querySelector("input[type=file]");
  if (box.matches("form")) {
    box.addEventListener("submit", (event) => { event.preventDefault(); upload(box, input.files[0]); });
  } else {
    input.addEventListener("change", () => { if (input.files[0]) upload(box, input.files[0]); });
  }
}

// After a refused form the reader starts at what is wrong.
document.getElementById("problem")?.focus();
for (const link of document.querySelectorAll("#problem a[href^='#']")) {
  link.addEventListener("click", () => {
    const target = document.querySelector(link.hash);
    target?.closest("details")?.setAttribute("open", "");
    (document.querySelector(`[aria-describedby="${link.hash.slice(1)}"]`) ?? target)?.focus();
  });
}
