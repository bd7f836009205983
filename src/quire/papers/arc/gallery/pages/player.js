"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const board = at("board");
let cells = [], height = 3, width = 3, tries = 0;

const chosen = () => Number(document.querySelector("input[name=colour]:checked").value);
const label = (button, colour) => {
  const row = Math.floor(button.index / width) + 1, column = button.index % width + 1;
  button.setAttribute("aria-label", `row ${row}, column ${column}: ${colour}`);
};
const paint = (button, colour) => {
  button.colour = colour;
  button.style.background = data.palette[colour];
  label(button, colour);
};
const focusOn = (index) => {
  for (const cell of cells) cell.tabIndex = -1;
  cells[index].tabIndex = 0;
  cells[index].focus();
};

function build(rows) {
  height = rows.length;
  width = rows[0].length;
  at("height").value = height;
  at("width").value = width;
  const side = Math.max(14, Math.min(36, Math.floor(620 / Math.max(height, width))));
  board.style.gridTemplateColumns = `repeat(${width}, ${side}px)`;
  board.replaceChildren();
  cells = rows.flat().map((colour, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.index = index;
    button.tabIndex = index === 0 ? 0 : -1;
    paint(button, colour);
    board.append(button);
    return button;
  });
  at("verdict").textContent = "";
}

const rowsNow = () =>
  Array.from({ length: height }, (_, r) => cells.slice(r * width, (r + 1) * width).map((c) => c.colour));
const side = (id) => Math.max(1, Math.min(30, Math.round(Number(at(id).value)) || 1));
const blank = (h, w) => Array.from({ length: h }, () => Array(w).fill(0));

board.addEventListener("click", (event) => {
  if (event.target.colour === undefined) return;
  paint(event.target, chosen());
  focusOn(event.target.index);
});
board.addEventListener("pointerover", (event) => {
  if (event.buttons === 1 && event.target.colour !== undefined) paint(event.target, chosen());
});
board.addEventListener("keydown", (event) => {
  const index = event.target.index;
  if (index === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
  const row = Math.floor(index / width), column = index % width;
  const goal = {
    ArrowUp: [row - 1, column], ArrowDown: [row + 1, column],
    ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
  }[event.key];
  if (goal) {
    event.preventDefault();
    if (goal[0] >= 0 && goal[0] < height && goal[1] >= 0 && goal[1] < width) {
      focusOn(goal[0] * width + goal[1]);
    }
  } else if (/^[0-9]$/.test(event.key)) {
    paint(event.target, Number(event.key));
  }
});
at("resize").addEventListener("click", () => {
  const before = rowsNow(), next = blank(side("height"), side("width"));
  next.forEach((row, r) => row.forEach((_, c) => { row[c] = before[r]?.[c] ?? 0; }));
  build(next);
});
at("copy").addEventListener("click", () => build(data.tests[Number(at("which").value)].input));
at("clear").addEventListener("click", () => build(blank(height, width)));
at("which").addEventListener("change", () => { tries = 0; build(blank(3, 3)); });
at("check").addEventListener("click", () => {
  const truth = data.tests[Number(at("which").value)].output;
  tries += 1;
  const right = JSON.stringify(truth) === JSON.stringify(rowsNow());
  at("verdict").textContent = truth === null ? "The answer is not known here."
    : right ? `Right, at try ${tries}.` : `Not right; try ${tries}.`;
});
build(blank(3, 3));
