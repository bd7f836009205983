// Filtering of the matrix; without scripts the whole table simply stands there.
(() => {
  const rows = [...document.querySelector("table.matrix").tBodies[0].rows];
  const form = document.querySelector("form.filter");
  const none = document.querySelector(".none-found");
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    const text = form.elements.text.value.trim().toLowerCase();
    const outcome = form.elements.outcome.value;
    for (const row of rows) {
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(text) ||
        (outcome !== "" && !row.querySelector(".cells ." + outcome));
    }
    none.hidden = rows.some((row) => !row.hidden);
  });
})();
