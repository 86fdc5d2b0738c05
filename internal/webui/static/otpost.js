// Keeps live what the server sends, shows times in the reader's zone, and guards what was typed. Every page works without it.

const inZone = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "medium" });

function showTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    time.title = time.textContent;
    time.textContent = inZone.format(new Date(time.dateTime));
  }
}

// Loads the page again and takes the element with this id from it. The focus stays where it was, what was opened stays open, and
// nothing is taken away from under a pointer that is pressed.
async function refresh(id) {
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!response.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html").getElementById(id);
  const old = document.getElementById(id);
  if (!fresh || !old) return;
  showTimes(fresh);
  const opened = old.querySelectorAll("details");
  fresh.querySelectorAll("details").forEach((one, i) => { one.open = opened[i]?.open ?? false; });
  while (old.querySelector(":active")) await new Promise((ready) => setTimeout(ready, 50));
  if (fresh.innerHTML === old.innerHTML) return;
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  old.replaceChildren(...fresh.childNodes);
  if (focused) (sameAs(focused, old) ?? headingOf(old)).focus({ preventScroll: true });
}

// The element in root that is what one was, before the page was loaded again: by its id, else by where it leads or what it says.
function sameAs(one, root) {
  if (one.id) return root.querySelector("#" + CSS.escape(one.id));
  const href = one.getAttribute("href");
  return [...root.querySelectorAll(one.tagName)].find((e) => !e.id && e.getAttribute("href") === href && e.textContent === one.textContent);
}

// What takes the focus when that element is gone: whoever has no pointer goes on from there, and not from the top.
function headingOf(root) {
  const heading = root.querySelector("h1, h2, h3") ?? document.querySelector("h1");
  heading.tabIndex = -1;
  return heading;
}

// data-live="ADDRESS" listens to a stream: "changed" loads the element again (it needs an id), "state" brings its text and, for the
// element behind it, what is not read out. A page that nobody sees listens to nothing: a browser has six connections to a server,
// for all its tabs. A stream that was refused is tried again, later each time.
function listen(element) {
  let stream = null, done = false, wait = 5000, again, loading = Promise.resolve();
  const close = () => { stream?.close(); stream = null; clearTimeout(again); };
  const open = () => {
    close();
    if (done || document.hidden) return;
    stream = new EventSource(element.dataset.live);
    stream.addEventListener("open", () => { wait = 5000; });
    stream.addEventListener("error", () => {
      if (stream?.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      again = setTimeout(open, wait);
      wait = Math.min(2 * wait, 300000);
    });
    stream.addEventListener("changed", () => { loading = loading.then(() => refresh(element.id)).catch(() => {}); });
    stream.addEventListener("state", (event) => {
      const news = JSON.parse(event.data);
      if (element.textContent !== news.text) element.textContent = news.text;
      element.className = "live " + news.state;
      const more = element.nextElementSibling;
      if (more?.className === "more") more.textContent = news.more;
      if (!news.final) return;
      done = true;
      close();
    });
  };
  open();
  addEventListener("visibilitychange", open);
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => { if (event.persisted) open(); });
}

// A form says that it is being sent, is sent once, and asks before what was typed into it is left behind, by a link or by another
// form such as Sign out; one that came back with an error is not saved either. Forms come and go with what lives: the document listens
// for all of them.
let typed = document.querySelector("[data-guard=typed]") !== null;
addEventListener("input", (event) => { if (event.target.form?.hasAttribute("data-guard")) typed = true; });
addEventListener("beforeunload", (event) => { if (typed) event.preventDefault(); });
addEventListener("submit", (event) => {
  const form = event.target, question = event.submitter?.dataset.confirm;
  if (form.getAttribute("aria-busy") || question && !confirm(question)) {
    event.preventDefault();
    return;
  }
  if (question || form.hasAttribute("data-guard")) typed = false;
  if (typed) return; // the browser asks first, and whoever stays needs the buttons
  form.setAttribute("aria-busy", "true"); // no button is disabled at once: its name and value would not be sent
  setTimeout(() => { for (const button of form.querySelectorAll("button")) button.disabled = true; });
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[aria-busy]")) {
    form.removeAttribute("aria-busy");
    for (const button of form.querySelectorAll("button")) button.disabled = false;
  }
});

showTimes(document);
document.querySelectorAll("[data-live]").forEach(listen);
document.querySelectorAll("select[data-submit]").forEach((s) => s.addEventListener("change", () => s.form.requestSubmit()));
(document.querySelector("[aria-invalid=true]") ?? document.querySelector("[autofocus]"))?.focus();
