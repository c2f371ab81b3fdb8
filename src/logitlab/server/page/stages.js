// The stages of the chain as columns that move: a table, each cell of which has a bar.

import { brief, broken, byId, el, percent, speaker, svg, token, whole } from "./dom.js";

const SVG_WIDTH = 100;

export class Stages {
  constructor(move, back) {
    this.move = move;
    this.back = back;
    this.place = byId("stages");
    this.speak = speaker(byId("told"));
    this.shape = "";
    this.dragged = null;
    document.addEventListener("pointermove", (event) => this.drag(event));
    for (const end of ["pointerup", "pointercancel"]) {
      document.addEventListener(end, () => this.drop());
    }
  }

  show(answer) {
    this.answer = answer;
    const ids = answer.tokens.map((each) => each.id).join();
    const heads = answer.stages.map((stage) => stage.key ?? "").join();
    const shape = `${ids}|${heads}|${answer.row}`;
    if (shape !== this.shape) this.build(answer);
    this.shape = shape;
    this.update(answer);
    this.tell(answer);
    this.pending = false;
    if (this.dragged !== null) this.drag({ clientX: this.x });
  }

  build(answer) {
    const focused = document.activeElement?.dataset?.move;
    this.heads = answer.stages.map((stage, i) => this.head(stage, i, answer.stages.length));
    this.cells = answer.tokens.map(() => answer.stages.map(() => new Cell()));
    const rows = answer.tokens.map((each, i) =>
      el(
        "tr",
        {},
        el("th", { scope: "row" }, token(each.label, each.id)),
        ...this.cells[i].map((cell) => cell.element),
      ),
    );
    const foot = (name, words) => {
      const cells = answer.stages.map(() => el("td"));
      this.feet[name] = cells;
      return el("tr", {}, el("th", { scope: "row" }, words), ...cells);
    };
    this.feet = {};
    const feet = [
      foot("kept", "tokens left"),
      foot("removed", "removed"),
      foot("entropy", "entropy, nats"),
    ];
    const scroll = this.place.scrollLeft;
    this.place.replaceChildren(
      el(
        "table",
        { class: "stages" },
        el("caption", { class: "apart" }, "Probability of each token after each step"),
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            el("th", { scope: "col" }, el("span", { class: "apart" }, "token")),
            ...this.heads,
          ),
        ),
        el("tbody", {}, ...rows),
        el("tfoot", {}, ...feet),
      ),
    );
    this.table = this.place.querySelector("table");
    this.table.style.setProperty("--columns", answer.stages.length);
    this.place.scrollLeft = scroll;
    if (focused) this.place.querySelector(`[data-move="${CSS.escape(focused)}"]`)?.focus();
  }

  head(stage, i, count) {
    if (stage.key === null)
      return el(
        "th",
        { scope: "col" },
        el("div", { class: "step" }, el("b", {}, "the model"), el("span", { class: "value" }, "")),
        el("div", { class: "movers" }),
      );
    const button = (by, sign, words, off) =>
      el(
        "button",
        {
          type: "button",
          "data-move": `${stage.key} ${by}`,
          "aria-label": `Move ${stage.key} ${words}`,
          "aria-disabled": off ? "true" : "false",
          onclick: () => {
            if (!off) this.shift(stage.key, by);
          },
        },
        sign,
      );
    const head = el(
      "th",
      { scope: "col", "data-key": stage.key },
      el(
        "div",
        { class: "step movable", title: "Drag to another place" },
        el("b", {}, ...broken(stage.key)),
        el("span", { class: "value" }),
      ),
      el(
        "div",
        { class: "movers" },
        button(-1, "‹", "earlier", i === 1),
        button(1, "›", "later", i === count - 1),
      ),
    );
    head.querySelector(".step").addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.preventDefault();
      this.dragged = stage.key;
      this.x = event.clientX;
      this.pending = false;
      head.classList.add("is-dragged");
    });
    return head;
  }

  update(answer) {
    const most = Math.max(...answer.stages.flatMap((stage) => stage.probs.map((p) => p ?? 0)));
    answer.stages.forEach((stage, s) => {
      const head = this.heads[s];
      head.querySelector(".value").textContent = stage.key === null ? "" : stage.value;
      head.title = stage.name;
      head.classList.toggle("is-dragged", stage.key !== null && stage.key === this.dragged);
      stage.probs.forEach((p, i) => {
        const before = s ? answer.stages[s - 1].probs[i] : null;
        this.cells[i][s].show(p, before, most);
      });
      this.feet.kept[s].textContent = whole(stage.kept);
      this.feet.removed[s].textContent = s ? percent(stage.removed) : "";
      this.feet.entropy[s].textContent = stage.entropy.toFixed(2);
      for (const [key, value] of Object.entries({
        kept: stage.kept,
        removed: stage.removed,
        entropy: stage.entropy,
      })) {
        this.feet[key][s].dataset.value = value;
      }
    });
  }

  tell(answer) {
    const last = answer.stages.at(-1);
    const best = last.probs.reduce(
      (top, p, i) => ((p ?? -1) > (last.probs[top] ?? -1) ? i : top),
      0,
    );
    const drawn = answer.drawn;
    const text = answer.text ?? `${answer.row}:`;
    byId("sentence").replaceChildren(
      el("bdi", { class: "prompt" }, text),
      ...(drawn
        ? [
            el(
              "span",
              { class: "drawn", title: `drawn with seed ${answer.seed}` },
              token(drawn.label),
            ),
          ]
        : []),
    );
    [...this.table.tBodies[0].rows].forEach((row, i) =>
      row.classList.toggle("is-drawn", drawn?.id === answer.tokens[i].id),
    );
    const left = `${whole(last.kept)} of ${whole(answer.vocabulary_size)} tokens ${last.kept === 1 ? "is" : "are"} left`;
    const leads = `${answer.tokens[best].label} leads with ${percent(last.probs[best])}`;
    this.speak(`${left}, ${leads}.${drawn ? ` Seed ${answer.seed} draws ${drawn.label}.` : ""}`);
    const order = byId("order");
    const about = answer.order;
    order.replaceChildren(
      ...(about
        ? [
            el("strong", {}, about.sentence),
            ` ${away(about.distance, byId("engine").value)} `,
            el(
              "button",
              { type: "button", id: "own-order", onclick: () => this.back() },
              "Back to the engine’s own order",
            ),
            ...this.orders(about.told),
          ]
        : [
            "Bars are probabilities, outlines those of the step before, hatched is what a step removes. Drag the head of a column, or use ‹ and ›, to put its step in another place.",
          ]),
    );
    byId("notes").replaceChildren(...answer.notes.map((note) => el("li", {}, note)));
  }

  // What to send an engine, so that it takes its steps in this order.
  orders(told) {
    const lines = Object.entries(told).map(
      ([name, option]) => `${name}: ${JSON.stringify(option)}`,
    );
    if (!lines.length) return [];
    return [el("details", {}, el("summary", {}, "what to send"), el("pre", {}, lines.join("\n")))];
  }

  keys() {
    return this.answer.stages.slice(1).map((stage) => stage.key);
  }

  shift(key, by) {
    const keys = this.keys();
    const from = keys.indexOf(key);
    const to = Math.min(keys.length - 1, Math.max(0, from + by));
    if (from < 0 || to === from) return;
    keys.splice(to, 0, ...keys.splice(from, 1));
    this.move([...new Set(keys)]);
  }

  drag({ clientX }, isLast = false) {
    if (this.dragged === null) return;
    this.x = clientX;
    if (this.pending && !isLast) return; // until the columns stand anew
    const keys = this.keys();
    const from = keys.indexOf(this.dragged);
    const centres = this.heads.slice(1).map((head) => {
      const box = head.getBoundingClientRect();
      return (box.left + box.right) / 2;
    });
    let to = centres.filter((centre, i) => i !== from && centre < clientX).length;
    to = Math.min(keys.length - 1, to);
    if (from >= 0 && to !== from) {
      this.pending = true;
      this.shift(this.dragged, to - from);
    }
  }

  drop() {
    if (this.dragged !== null) this.drag({ clientX: this.x }, true);
    this.dragged = null;
    for (const head of this.heads ?? []) head.classList.remove("is-dragged");
  }
}

function away(distance, engine) {
  if (distance < 1e-6) return `It leads to the same distribution as at ${engine}.`;
  const far = distance < 0.0005 ? "less than 0.001" : distance.toFixed(3);
  return `It leads ${far} away from what ${engine} does, in total variation.`;
}

class Cell {
  constructor() {
    this.before = svg("rect", { class: "before", y: 1, height: 14, width: 0 });
    this.now = svg("rect", { class: "now", y: 1, height: 14, width: 0 });
    this.number = el("span", { class: "number" });
    this.element = el(
      "td",
      {},
      this.number,
      svg(
        "svg",
        {
          class: "bar",
          viewBox: `0 0 ${SVG_WIDTH} 16`,
          preserveAspectRatio: "none",
          "aria-hidden": "true",
          focusable: "false",
        },
        this.now,
        this.before,
      ),
    );
  }

  show(p, before, most) {
    const shape = `${p} ${before} ${most}`;
    if (shape === this.shape) return; // most cells stay while one slider moves
    this.shape = shape;
    const scale = SVG_WIDTH / (most || 1);
    const isGone = p === null;
    this.now.setAttribute("width", (p ?? 0) * scale);
    this.before.setAttribute("width", (before ?? 0) * scale);
    this.element.classList.toggle("is-gone", isGone);
    this.element.classList.toggle("dies", isGone && before !== null);
    this.number.textContent = isGone ? (before !== null ? "removed" : "–") : brief(p);
    this.element.dataset.p = p ?? "";
  }
}
