// Tables whose heads sort: by button, so that the keyboard does it too; missing values stay last.
(() => {
  "use strict";
  document.querySelectorAll("table.sortable").forEach((table) => {
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    const value = (row, index, text) => {
      const raw = row.cells[index].dataset.value;
      return raw === "" || raw === undefined ? null : text ? raw : Number(raw);
    };
    heads.forEach((head, index) => head.querySelector("button")?.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const next = now ? (now === "ascending" ? "descending" : "ascending") : head.dataset.first || "ascending";
      const sign = next === "ascending" ? 1 : -1;
      const text = head.dataset.kind === "text";
      const compare = text ? (a, b) => a.localeCompare(b) : (a, b) => a - b;
      const rows = [...body.rows].map((row) => ({ row, key: value(row, index, text) }));
      rows.sort((a, b) => (a.key === null) - (b.key === null) || (a.key === null ? 0 : sign * compare(a.key, b.key)));
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", next);
      body.append(...rows.map(({ row }) => row));
    }));
  });
})();
