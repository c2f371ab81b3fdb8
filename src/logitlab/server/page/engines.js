// Engines side by side: each distribution as one strip, its distance, and where it parts ways.

import { ask } from "./backend.js";
import { byId, el, percent, speaker, token, whole } from "./dom.js";

export class Engines {
  constructor(take) {
    this.take = take;
    this.place = byId("engines");
    this.speak = speaker(byId("engines-told"));
    this.round = 0;
  }

  async show(answer, body) {
    const round = ++this.round;
    byId("reference").textContent = answer.reference;
    const rows = answer.sides.map((side) => this.row(side, answer));
    const refused = Object.entries(answer.refused).map(([name, why]) =>
      el(
        "tr",
        { class: "is-refused" },
        el("th", { scope: "row" }, name),
        el("td", { colspan: 3 }, "refuses"),
        el("td", { class: "partings" }, why),
      ),
    );
    this.place.replaceChildren(
      el(
        "table",
        { class: "engines" },
        el("caption", { class: "apart" }, `Engines beside ${answer.reference}`),
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            ...["engine", "distance", "left", "what it draws from", "where they part ways"].map(
              (word) => el("th", { scope: "col" }, word),
            ),
          ),
        ),
        el("tbody", {}, ...rows, ...refused),
      ),
    );
    const others = answer.sides.filter((side) => side.name !== answer.reference);
    const same = others.filter((side) => side.is_same).length;
    this.speak(
      `${same} of ${others.length} other engines answer alike, ${Object.keys(answer.refused).length} refuse.`,
    );
    for (const side of answer.sides) {
      const cell = this.place.querySelector(`[data-parting="${CSS.escape(side.name)}"]`);
      if (side.name === answer.reference || side.is_same || side.distance === null) continue;
      const parted = await ask("partings", { ...body, other: side.name });
      if (round !== this.round) return; // another request has come since
      const sentences = parted.error
        ? [parted.error.message]
        : parted.partings.map((each) => each.sentence);
      cell.replaceChildren(...sentences.map((sentence) => el("p", {}, sentence)));
    }
  }

  row(side, answer) {
    const strip = el("div", {
      class: "strip",
      role: "img",
      "aria-label": this.words(side, answer),
    });
    let rest = 1;
    side.probs.forEach((p, i) => {
      if (!p || p < 0.004) return;
      rest -= p;
      const part = el(
        "span",
        { class: `part part-${i % 2}`, title: `${answer.tokens[i].label} ${percent(p)}` },
        p < 0.09 ? "" : token(answer.tokens[i].label),
      );
      part.style.flexGrow = p;
      strip.append(part);
    });
    if (rest > 0.004) {
      const part = el(
        "span",
        { class: "part others", title: `others ${percent(rest)}` },
        rest < 0.12 ? "" : el("i", {}, "others"),
      );
      part.style.flexGrow = rest;
      strip.append(part);
    }
    const isFirst = side.name === answer.reference;
    const distance = side.distance === null ? "–" : side.distance.toFixed(3);
    const waiting = side.distance === null ? "–" : "…"; // it has nothing to be compared with
    const words = isFirst ? "chosen above" : side.is_same ? "the same distribution" : waiting;
    return el(
      "tr",
      { "data-engine": side.name, class: isFirst ? "is-first" : "" },
      el(
        "th",
        { scope: "row" },
        el(
          "button",
          {
            type: "button",
            class: "plain",
            title: `${side.title}: take this engine`,
            onclick: () => this.take(side.name),
          },
          side.name,
        ),
      ),
      el("td", { class: "distance", "data-value": side.distance }, isFirst ? "–" : distance),
      el("td", { class: "left" }, whole(side.kept)),
      el("td", { class: "strip-cell" }, strip),
      el("td", { class: "partings", "data-parting": side.name }, words),
    );
  }

  words(side, answer) {
    const tops = answer.tokens
      .map((each, i) => [each.label, side.probs[i]])
      .filter(([, p]) => p)
      .sort((a, b) => b[1] - a[1]);
    return (
      tops
        .slice(0, 4)
        .map(([label, p]) => `${label} ${percent(p)}`)
        .join(", ") || "none of the tokens shown"
    );
  }
}
