// The slider: which measured weight decay is shown. Nothing is computed but means over panels.
(() => {
  const { decay } = JSON.parse(document.querySelector("#content").textContent);
  const control = document.querySelector("#control");
  if (!decay || !control) return;
  const slider = control.querySelector("#decay");
  const found = Object.entries(decay.arms)
    .map(([arm, { settings, runs }]) => ({
      arm,
      runs,
      task: settings.task ?? "table",
      family: settings.family ?? "shared_embed",
      decay: settings.weight_decay ?? 0,
    }))
    .sort((a, b) => a.decay - b.decay);

  const mean = (runs, metric) => runs.reduce((sum, run) => sum + run[metric], 0) / runs.length;
  const share = (x) => x.toFixed(3);
  const percent = (x) => `${x.toFixed(0)} %`;

  function choices() {
    const family = control.querySelector("[name=family]:checked").value;
    return found.filter((each) => each.task === "table" && each.family === family);
  }

  function cell(text, name = "td") {
    const made = document.createElement(name);
    made.textContent = text;
    return made;
  }

  function row(run) {
    const made = document.createElement("tr");
    const shown = [percent(run.says_four), percent(run.says_five), share(run.four), share(run.five), share(run.outside)];
    made.append(cell(run.seed, "th"), ...shown.map((text) => cell(text)));
    return made;
  }

  function show() {
    const known = choices();
    slider.max = Math.max(0, known.length - 1);
    const chosen = known[Math.min(slider.value, slider.max)];
    if (!chosen) return;
    control.querySelector("output").textContent = chosen.decay;
    slider.setAttribute("aria-valuetext", `weight decay ${chosen.decay}`);
    const four = mean(chosen.runs, "says_four");
    const twin = found.find((each) => each.task === "modular" && each.decay === chosen.decay);
    const beside = twin
      ? ` The control gets ${percent(mean(twin.runs, "unseen"))} of unseen pairs modulo 97 right.`
      : "";
    control.querySelector("[role=status]").textContent =
      `${percent(four)} of the members say 4, over ${chosen.runs.length} panels.${beside}`;
    const bars = [];
    for (const [name, metric] of [["P(4)", "four"], ["P(5)", "five"], ["neither", "outside"]]) {
      const value = mean(chosen.runs, metric);
      const bar = document.createElement("span");
      bar.style.width = `${100 * value}%`;
      bars.push(cell(name, "div"), bar, cell(share(value), "div"));
    }
    control.querySelector(".bars").replaceChildren(...bars);
    control.querySelector("#panels tbody").replaceChildren(...chosen.runs.map(row));
    for (const each of document.querySelectorAll("#decays tbody tr")) {
      each.classList.toggle("chosen", each.dataset.arm === chosen.arm);
    }
  }

  control.hidden = false;
  control.addEventListener("input", show);
  show();
})();
