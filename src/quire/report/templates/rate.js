// Ratings of pairs: kept in this browser, saved as a file, sent nowhere.
(() => {
  const page = JSON.parse(document.querySelector("#content").textContent);
  const one = (selector) => document.querySelector(selector);
  const [left, right] = document.querySelectorAll(".pair img");
  const form = one("form").elements;
  const key = "quire-rate-" + page.key;
  let kept = true; // whether a reload would find what was chosen
  let saved = 0; // how many choices the last file holds, 0 once anything changed
  let since = 0;
  let state = read() ?? begin();

  function begin() {
    const id = Date.now().toString(36) + Math.random().toString(36).slice(2, 12);
    return { id, rater: "", choices: [] };
  }

  function read() {
    try {
      return JSON.parse(localStorage.getItem(key));
    } catch {
      return null;
    }
  }

  function keep() {
    saved = 0;
    try {
      localStorage.setItem(key, JSON.stringify(state));
    } catch {
      kept = false;
    }
  }

  function show() {
    const number = state.choices.length;
    const total = page.pictures.length;
    const done = number === total;
    one(".pair").hidden = done;
    one(".done").hidden = !done;
    form.anew.hidden = !(done && saved === number);
    form.back.disabled = form.save.disabled = number === 0;
    one("progress").value = number;
    const where = done ? `${total} of ${total} rated` : `Pair ${number + 1} of ${total}`;
    one("[role=status]").textContent = where;
    if (!done) [left.src, right.src] = page.pictures[number];
    else if (document.activeElement === document.body) form.save.focus();
    since = performance.now();
  }

  function choose(side) {
    const names = page.names[state.choices.length];
    if (names === undefined) return;
    const seconds = Math.round((performance.now() - since) / 100) / 10;
    state.choices.push([side === "" ? null : names[side], seconds]);
    keep();
    show();
  }

  function save() {
    const rating = { ...state, date: new Date().toISOString().slice(0, 10) };
    const text = page.head + JSON.stringify(rating) + page.tail;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = `ratings-${page.key}-${state.id}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    saved = state.choices.length;
    form.anew.hidden = saved < page.pictures.length;
    one(".saved").textContent = `Saved ${saved} of ${page.pictures.length} as ${link.download}.`;
  }

  for (const button of document.querySelectorAll("[data-side]")) {
    button.addEventListener("click", (event) => {
      choose(button.dataset.side);
      // After a pointer the space bar is to mean "can't tell", not this button again.
      if (event.detail > 0) button.blur();
    });
  }
  document.addEventListener("keydown", (event) => {
    const side = { ArrowLeft: "0", ArrowRight: "1", " ": "" }[event.key];
    const free = !(event.repeat || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey);
    const typing = event.target.closest("input") || (side === "" && event.target.closest("button"));
    if (side === undefined || !free || typing) return;
    event.preventDefault();
    choose(side);
  });
  form.back.addEventListener("click", () => {
    state.choices.pop();
    keep();
    show();
  });
  form.anew.addEventListener("click", () => {
    state = begin();
    form.rater.value = one(".saved").textContent = "";
    keep();
    show();
  });
  form.rater.addEventListener("input", () => {
    state.rater = form.rater.value.trim();
    keep();
  });
  one("form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (state.choices.length) save();
  });
  addEventListener("beforeunload", (event) => {
    if (!kept && state.choices.length > saved) event.preventDefault();
  });
  form.rater.value = state.rater;
  keep();
  show();
})();
