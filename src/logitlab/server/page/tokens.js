// A text in tokens, each coloured by its probability, and what could have stood in its place.

import { el, percent, token } from "./dom.js";

// The rarer a token, the stronger its colour: a step for each factor of about four.
const level = (p) => (p <= 0 ? 6 : Math.min(5, Math.floor(-Math.log2(p) / 2 + 0.25)));

export class Tokens {
  // A text in tokens: arrows go from one to the next, and what could have stood there is beside.
  constructor(name, force) {
    this.force = force;
    this.text = el("div", { class: "tokens result", role: "group", "aria-label": name });
    this.beside = el("div", {
      class: "beside result",
      role: "group",
      "aria-label": "The token that is pointed at",
    });
    this.chosen = 0;
    this.list = [];
  }

  show(list, prompt) {
    this.list = list;
    this.chosen = Math.max(0, Math.min(this.chosen, list.length - 1));
    const hasFocus = this.text.contains(document.activeElement);
    this.buttons = list.map((each, i) =>
      el(
        "button",
        {
          type: "button",
          class: `tok level-${level(each.p)}${each.died ? " is-dead" : ""}`,
          tabindex: i === this.chosen ? 0 : -1,
          "data-id": each.id,
          "aria-label": `${each.label}, ${each.died ? "could not be drawn" : percent(each.p)}`,
          onmouseenter: () => this.point(i),
          onfocus: () => this.point(i),
          onclick: () => this.point(i, true),
          onkeydown: (event) => this.key(event, i),
        },
        el("bdi", {}, each.text),
      ),
    );
    this.text.replaceChildren(el("bdi", { class: "prompt" }, prompt), ...this.buttons);
    if (list.length) this.point(this.chosen);
    else this.beside.replaceChildren();
    if (hasFocus) this.buttons[this.chosen]?.focus();
  }

  key(event, i) {
    const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: this.list.length - 1 }[
      event.key
    ];
    if (to === undefined || !this.buttons[to]) return;
    event.preventDefault();
    this.buttons[to].focus();
  }

  point(i, isMeant = false) {
    this.buttons[this.chosen]?.setAttribute("tabindex", -1);
    this.chosen = i;
    this.buttons.forEach((button, j) => button.classList.toggle("is-chosen", j === i));
    this.buttons[i].setAttribute("tabindex", 0);
    const each = this.list[i];
    const most = Math.max(...each.alternatives.map((other) => other.p ?? 0), each.p, 1e-9);
    const others = each.alternatives.map((other) => {
      const bar = el("span", { class: "meter" });
      bar.style.inlineSize = `${(100 * (other.p ?? 0)) / most}%`;
      const words = [
        token(other.label, other.id),
        el("span", { class: "number" }, other.p === null ? "removed" : percent(other.p)),
        el("span", { class: "track" }, bar),
      ];
      const classes = `other${other.id === each.id ? " is-here" : ""}${other.p === null ? " is-gone" : ""}`;
      return this.force
        ? el(
            "li",
            {},
            el(
              "button",
              { type: "button", class: classes, onclick: () => this.force(i, other.id) },
              el("span", { class: "apart" }, "Force "),
              ...words,
            ),
          )
        : el("li", {}, el("span", { class: classes }, ...words));
    });
    const head = el(
      "p",
      {},
      `Token ${i + 1}, `,
      token(each.label),
      each.died
        ? ": "
        : `: ${percent(each.p)} under the request, ${percent(each.raw)} of the model, rank ${each.rank}.`,
    );
    if (each.died)
      head.append(
        el("strong", {}, each.died.replace(/^.*could not be drawn: /s, "could not be drawn: ")),
        ` The model gives it ${percent(each.raw)}.`,
      );
    this.beside.replaceChildren(head, el("ul", {}, ...others));
    if (isMeant) this.beside.querySelector("button")?.focus();
  }
}
