// What a test asks of a page, in the words of somebody who looks at it. Each function that finds something returns a reason
// while it is not there: {why: "..."}.
({
  isSelector: (what) => /^[#.\[]|^[a-z0-9]+\[/.test(what),

  words: (text) => (text || "").replace(/\s+/g, " ").trim(),

  seen(e) {
    const r = e.getBoundingClientRect();
    return r.width > 0 && r.height > 0 && e.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  },

  name(e) {
    return this.words(e.getAttribute("aria-label") || e.innerText || e.value || e.title);
  },

  only(found, what) {
    found = found.filter((e) => this.seen(e));
    if (found.length === 1) return { e: found[0] };
    return { why: found.length ? found.length + " elements are called " + what : "nothing visible is called " + what };
  },

  control(what) {
    if (this.isSelector(what)) return this.only([...document.querySelectorAll(what)].slice(0, 1), what);
    const all = [...document.querySelectorAll("a, button, summary, label, input[type=submit], input[type=button], [role=button], [role=tab], [role=menuitem]")];
    const exact = all.filter((e) => this.name(e) === what && this.seen(e));
    if (exact.length) return this.only(exact, what);
    return this.only(all.filter((e) => this.name(e).includes(what)), what);
  },

  field(what) {
    if (this.isSelector(what)) return this.only([...document.querySelectorAll(what)].slice(0, 1), what);
    const all = [...document.querySelectorAll("input:not([type=hidden]), select, textarea")];
    const named = all.filter((e) => e.name === what);
    if (named.length) return named.length > 1 && named[0].type === "radio" ? { e: named[0] } : this.only(named, what);
    return this.only(all.filter((e) => [...(e.labels || [])].some((l) => this.words(l.innerText) === what) || e.getAttribute("aria-label") === what), what);
  },

  // The point of an element where a pointer hits it.
  point(found) {
    if (found.why) return found;
    const e = found.e;
    if (e.disabled) return { why: this.name(e) + " is disabled" };
    e.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
    const r = e.getClientRects()[0];
    const x = r.left + r.width / 2, y = r.top + r.height / 2;
    const top = document.elementFromPoint(x, y);
    if (!top || !(e.contains(top) || top.contains(e) || [...(e.labels || [])].some((l) => l.contains(top))))
      return { why: "it is covered by " + (top ? this.path(top) : "nothing") };
    return { x, y };
  },

  // Selects all of a field, for the keyboard.
  take(found, empty) {
    if (found.why) return found;
    const e = found.e;
    if (e.disabled || e.readOnly) return { why: e.name + " takes no text" };
    e.focus();
    if (document.activeElement !== e) return { why: e.name + " takes no focus" };
    e.select();
    if (empty) this.put(e, "");
    return {};
  },

  put(e, value) {
    e.value = value;
    e.dispatchEvent(new Event("input", { bubbles: true }));
    e.dispatchEvent(new Event("change", { bubbles: true }));
  },

  choose(found, option) {
    if (found.why) return found;
    const one = [...found.e.options].find((o) => this.words(o.text) === option || o.value === option);
    if (!one) return { why: "it has no option " + option };
    this.put(found.e, one.value);
    return {};
  },

  path(e) {
    if (!e || e === document.documentElement) return "html";
    let name = e.tagName.toLowerCase();
    if (e.id) return name + "#" + e.id;
    if (e.classList.length) name += "." + [...e.classList].join(".");
    return e.parentElement && e.parentElement !== document.body ? this.path(e.parentElement) + " > " + name : name;
  },

  // The innermost elements that reach beyond the viewport's right or left edge, except those in a box that scrolls or cuts.
  beyond(width) {
    const boxed = (e) => {
      for (let p = e.parentElement; p && p !== document.body; p = p.parentElement)
        if (getComputedStyle(p).overflowX !== "visible") return true;
      return false;
    };
    const reaches = (e) => {
      const r = e.getBoundingClientRect();
      const inside = getComputedStyle(e).overflowX === "visible" && e.clientWidth > 0 ? e.scrollWidth : 0; // words that do not break
      return r.left + scrollX + Math.max(r.width, inside) > width + 1 || (r.left + scrollX < -1 && r.right + scrollX > 0);
    };
    const found = [...document.body.querySelectorAll("*")].filter((e) => this.seen(e) && !boxed(e) && reaches(e));
    return found
      .filter((e) => !found.some((inner) => inner !== e && e.contains(inner)))
      .map((e) => this.path(e));
  },
})
