// The same elsewhere: as Python, as curl, as a link.

import { ask } from "./backend.js";
import { byId, el } from "./dom.js";

export async function showAlong(body, isTooLong, blame) {
  const answer = await ask("spell", body);
  blame(answer.error ?? null);
  if (answer.error) {
    byId("panel-along").replaceChildren(); // nobody is to copy what was asked before
    return;
  }
  const block = (id, words, text) => {
    const said = el("span", { role: "status", class: "faint" });
    const copy = el(
      "button",
      {
        type: "button",
        onclick: async () => {
          try {
            await navigator.clipboard.writeText(text);
            said.textContent = " copied";
          } catch {
            said.textContent = " select it and copy it by hand";
          }
        },
      },
      `Copy ${words}`,
    );
    return el(
      "section",
      {},
      el("h3", {}, words),
      copy,
      said,
      el("pre", { id, tabindex: 0, role: "region", "aria-label": words }, text),
    );
  };
  byId("panel-along").replaceChildren(
    el("p", { class: "lead" }, "The same, elsewhere."),
    block("python", "Python", answer.python),
    block("curl", "curl, for logitlab serve", answer.curl),
    block("link", "link", location.href),
    el(
      "p",
      { class: "faint" },
      "file" in body.source ? "A dropped file does not travel in the link." : "",
      isTooLong ? "What was pasted is too long for a link, which is that of the first page." : "",
    ),
  );
}
