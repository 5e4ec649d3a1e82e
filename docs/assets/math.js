// Formulae leave the build as \(…\) and \[…\]; KaTeX, shipped with the site, sets them.
// If scripts are off they stay readable as TeX.
function setFormulae() {
  renderMathInElement(document.body, {
    delimiters: [
      { left: "\\(", right: "\\)", display: false },
      { left: "\\[", right: "\\]", display: true },
    ],
    throwOnError: false,
    strict: "ignore", // letters such as ε stand in formulae as they are
  });
}

if (document.readyState === "loading") {
  document.addEventListener("DOMContentLoaded", setFormulae);
} else {
  setFormulae();
}
