// A table that is wider than its page says that it scrolls, and does so by keys, too.
function tell() {
  for (const wrapper of document.querySelectorAll(".table-wrapper")) {
    const isWide = wrapper.scrollWidth > wrapper.clientWidth + 1;
    wrapper.classList.toggle("wide", isWide);
    isWide ? wrapper.setAttribute("tabindex", "0") : wrapper.removeAttribute("tabindex");
  }
}
addEventListener("load", tell);
addEventListener("resize", tell);
