// Filtering and sorting of the matrix; without scripts the whole table simply stands there.
(() => {
  const table = document.querySelector("table.matrix");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const form = document.querySelector("form.filter");
  const none = document.querySelector(".none-found");
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    const text = form.elements.text.value.trim().toLowerCase();
    const outcome = form.elements.outcome.value;
    for (const row of rows) {
      const words = [...row.cells].slice(0, 3).map((cell) => cell.textContent).join(" ");
      row.hidden = !words.toLowerCase().includes(text) ||
        (outcome !== "" && !row.querySelector(".cells ." + outcome));
    }
    none.hidden = rows.some((row) => !row.hidden);
  });
  [...table.tHead.rows[0].cells].slice(0, -1).forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const key = (row) => row.cells[column].textContent.trim();
      const numeric = head.classList.contains("number");
      // Counts are asked for from the top, words from A; a second click turns them round.
      const usual = numeric ? "descending" : "ascending";
      const other = numeric ? "ascending" : "descending";
      const chosen = head.getAttribute("aria-sort") === usual ? other : usual;
      for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", chosen);
      const order = chosen === "ascending" ? 1 : -1;
      rows.sort((a, b) => order *
        (numeric ? key(a) - key(b) : key(a).localeCompare(key(b))));
      body.append(...rows);
    });
  });
})();
