// Light, dark or as the system says; set before anything is drawn, kept for the next visit.
window.seqstate = (() => {
  "use strict";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const listeners = [];
  let choice = "automatic";
  try { choice = localStorage.getItem("seqstate-theme") || choice; } catch { /* a file may have no storage */ }

  const apply = (theme) => {
    root.dataset.theme = theme || (choice === "automatic" ? (system.matches ? "dark" : "light") : choice);
    listeners.forEach((listener) => listener());
  };
  const cycle = { automatic: "light", light: "dark", dark: "automatic" };
  const show = (button) => { button.querySelector("span").textContent = choice; };

  apply();
  system.addEventListener("change", () => apply());
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    button.hidden = false;
    show(button);
    button.addEventListener("click", () => {
      choice = cycle[choice] || "automatic";
      try { localStorage.setItem("seqstate-theme", choice); } catch { /* as above */ }
      show(button);
      apply();
    });
  });
  return { onTheme: (listener) => listeners.push(listener), apply };
})();
