// An answer that was pasted: how likely each token was, and which could not have come.

import { newest } from "./backend.js";
import { byId, el, later } from "./dom.js";
import { Tokens } from "./tokens.js";

export class Scoring {
  constructor(state, body, changed, blame) {
    Object.assign(this, { state, body, changed, blame });
    this.tokens = new Tokens("The answer, token by token", null);
    this.field = el("textarea", {
      id: "answer",
      rows: 3,
      oninput: () => {
        this.state().answer = this.field.value;
        this.later();
      },
    });
    this.verdict = el("p", { id: "verdict", class: "lead result", role: "status" });
    this.sums = el("p", { id: "sums", class: "faint result" });
    this.notes = el("ul", { class: "faint result" });
    byId("panel-scoring").append(
      el(
        "p",
        { class: "lead" },
        "Paste an answer: how likely was each token under these parameters, and which step would have kept it from being drawn?",
      ),
      el("p", { class: "faint", id: "scored-after" }),
      el("label", { for: "answer" }, "Answer"),
      this.field,
      this.verdict,
      this.tokens.text,
      this.sums,
      this.tokens.beside,
      this.notes,
    );
    this.later = later(250, () => {
      this.changed();
      this.score();
    });
    this.asked = newest("score", (answer) => this.take(answer));
  }

  show(prompt) {
    const state = this.state();
    this.prompt = state.begin ?? prompt;
    byId("scored-after").replaceChildren("After: ", el("bdi", {}, this.prompt));
    if (document.activeElement !== this.field) this.field.value = state.answer;
    this.score();
  }

  score() {
    if (this.field.value === "") {
      this.verdict.textContent = "";
      this.sums.textContent = "";
      this.tokens.show([], "");
      this.notes.replaceChildren();
      this.blame(null); // of what stood there before
      return;
    }
    this.asked({ ...this.body(), prompt: this.prompt, answer: this.field.value });
  }

  take(answer) {
    if (this.field.value === "") return; // it is gone meanwhile
    this.blame(answer.error ?? null);
    if (answer.error) return;
    this.verdict.textContent = answer.verdict;
    this.tokens.show(answer.tokens, "");
    const number = (value) => (value === null ? "infinite" : value.toPrecision(4));
    this.sums.textContent = `Perplexity ${number(answer.raw.perplexity)} in the model’s own distributions, ${number(answer.processed.perplexity)} under the request; ${number(answer.raw.bits_per_byte)} bits per byte.`;
    this.notes.replaceChildren(...answer.notes.map((note) => el("li", {}, note)));
  }
}
