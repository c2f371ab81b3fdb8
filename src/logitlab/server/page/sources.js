// Where the scores come from: a recorded prompt, one's own text, pasted lines, a dropped file.

import { ask } from "./backend.js";
import { byId, el } from "./dom.js";

const EXAMPLE = "␣king: 3.2\n␣queen: 2.9\n␣frog: 2.5\n␣дракон: 1.2\n␣龍: 1.0\n␣ملك: 0.4";

export class Sources {
  constructor(about, change, blame) {
    Object.assign(this, { about, change, blame, last: {} });
    this.place = byId("source-field");
    for (const button of this.buttons()) {
      button.addEventListener("click", () => this.open(button.dataset.kind));
    }
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      const file = event.dataTransfer?.files?.[0];
      if (file) this.read(file);
    });
  }

  buttons() {
    return [...byId("source").querySelectorAll("[data-kind]")];
  }

  show(source) {
    const kind = ["prompt", "text", "lines", "file"].find((each) => each in source);
    this.last[kind] = source;
    this.draw(kind, source);
  }

  open(kind) {
    const first = {
      prompt: { prompt: 3 },
      text: { text: "Once upon a time there was a" },
      lines: { lines: EXAMPLE },
    };
    const source = this.last[kind] ?? first[kind];
    if (source) this.change(source);
    this.draw(kind, source ?? null);
    if (!source) this.place.querySelector("input")?.focus();
  }

  draw(kind, source) {
    for (const button of this.buttons())
      button.setAttribute("aria-pressed", button.dataset.kind === kind);
    if (this.drawn === kind) {
      if (kind !== "file" && document.activeElement !== this.field) this.field.value = source[kind];
      if (kind === "file") this.tellFile(source);
      return;
    }
    this.drawn = kind;
    if (kind === "prompt") {
      const options = this.about.prompts.map((each, i) =>
        el("option", { value: i }, `${i} ${each.kind}: ${each.text.replace(/\s+/g, " ")}`),
      );
      this.field = el(
        "select",
        {
          "aria-label": "Recorded prompt",
          onchange: () => this.change({ prompt: Number(this.field.value) }),
        },
        ...options,
      );
      this.place.replaceChildren(this.field);
    } else if (kind === "file") {
      const file = el("input", {
        type: "file",
        accept: ".npy",
        "aria-label": "A .npy file of logits",
        onchange: () => file.files[0] && this.read(file.files[0]),
      });
      this.where = el("span", { class: "faint", role: "status" });
      this.place.replaceChildren(file, this.where);
      this.tellFile(source);
      return;
    } else {
      const label =
        kind === "text"
          ? `Your text, read by the model ${this.about.model}`
          : "Lines of token: logit; ␣ is a space";
      this.field = el("textarea", {
        "aria-label": label,
        rows: kind === "text" ? 2 : 5,
        spellcheck: "false",
        oninput: () => this.change({ [kind]: this.field.value }),
      });
      this.place.replaceChildren(el("span", { class: "faint" }, label), this.field);
    }
    this.field.value = source[kind];
  }

  tellFile(source) {
    if (!source) this.where.textContent = " Choose one, or drop it anywhere on the page.";
    else this.where.textContent = ` ${source.rows ?? 1} rows; this is row ${source.row ?? 0}.`;
    this.place.querySelector(".row-number")?.remove();
    if (source && source.rows > 1) {
      const number = el("input", {
        type: "number",
        class: "row-number",
        "aria-label": "Row",
        min: 0,
        max: source.rows - 1,
        value: source.row ?? 0,
        oninput: () => this.change({ ...source, row: Number(number.value) }),
      });
      this.place.append(number);
    }
  }

  async read(file) {
    const data = new Uint8Array(await file.arrayBuffer());
    let text = "";
    for (let i = 0; i < data.length; i += 32768)
      text += String.fromCharCode(...data.subarray(i, i + 32768));
    const kept = await ask("keep", { npy: btoa(text) });
    this.blame(kept.error ?? null);
    if (!kept.error) this.change({ file: kept.file, row: 0, rows: kept.rows });
  }
}
