// The passage: colours its tokens by what they cost a model, or by what one model saves over another.
(() => {
  "use strict";
  const all = JSON.parse(document.getElementById("data").textContent);
  const BITS = 1 / Math.LN2;

  document.querySelectorAll(".surprises").forEach((figure) => {
    const { names, nats, edges, shifts, against, hues } = all[figure.dataset.of];
    const find = (role) => figure.querySelector(`[data-role="${role}"]`);
    const passage = figure.querySelector(".passage"), readout = figure.querySelector(".readout");
    const shown = figure.querySelector('[data-caption="shown"]');
    const model = find("model"), other = find("other"), toggle = find("difference");
    const tokens = [...passage.querySelectorAll("span")];
    let current = -1, held = false;  // held: a click keeps a token until the next one

    const reached = (limits, value) => limits.filter((limit) => value >= limit).length;
    const pair = () => [Number(model.value), other && other.value !== "" ? Number(other.value) : null];
    const signed = (value, digits) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);

    function colour() {
      const [one, two] = pair();
      let total = 0;
      tokens.forEach((token, index) => {
        const saved = two === null ? null : (nats[two][index] - nats[one][index]) * BITS;
        total += two === null ? nats[one][index] * BITS : saved;
        const style = two === null ? `s${reached(edges, nats[one][index] * BITS)}`
          : (saved < 0 ? "f" : "a") + reached(shifts, Math.abs(saved));
        token.className = style === "a0" ? "f0" : style;
        if (index === current) token.classList.add("current");
      });
      const mean = total / tokens.length;
      shown.textContent = two === null ? `Shown: ${names[one]}, ${mean.toFixed(3)} bits per token.`
        : `Shown: what ${names[one]} saves over ${names[two]}, ${signed(mean, 3)} bits per token.`;
      figure.querySelector('[data-scale="surprise"]').hidden = two !== null;
      figure.querySelector('[data-scale="difference"]').hidden = two === null;
      toggle?.setAttribute("aria-pressed", String(two !== null));
      if (current >= 0) tell(current); else summarise();
    }

    const make = (tag, text, style) => {
      const node = document.createElement(tag);
      if (text !== undefined) node.textContent = text;
      if (style) node.className = style;
      return node;
    };

    function tell(index) {
      tokens[current]?.classList.remove("current");
      current = index;
      tokens[index].classList.add("current");
      const [one, two] = pair();
      const title = make("p", undefined, "token");
      title.append(make("q", readable(tokens[index]).replace(/ /g, "␣") || "␣"),
                   make("small", ` token ${index + 1} of ${tokens.length}`));
      const table = make("table"), head = table.createTHead().insertRow(), body = table.createTBody();
      ["", "bits", "nats"].forEach((text) => head.append(make("th", text)));
      const order = names.map((_, row) => row).sort((a, b) => nats[a][index] - nats[b][index]);
      for (const row of order) {
        const line = body.insertRow();
        if (row === one || row === two) line.className = "chosen";
        const name = make("th", names[row]);
        name.style.setProperty("--dot", `var(--hue-${hues[row]})`);
        line.append(name, make("td", (nats[row][index] * BITS).toFixed(2)), make("td", nats[row][index].toFixed(2)));
      }
      readout.classList.add("chosen");
      readout.replaceChildren(title, table);
    }

    // With no token chosen: where the model fails most, or where memory helps and hurts most.
    function summarise() {
      const [one, two] = pair();
      const worth = tokens.map((_, i) => (two === null ? nats[one][i] : nats[two][i] - nats[one][i]) * BITS);
      const order = worth.map((_, i) => i).sort((a, b) => worth[b] - worth[a]);
      const list = (title, chosen) => {
        const table = make("table");
        for (const index of chosen) {
          const line = table.insertRow(), name = make("th"), jump = make("button");
          const around = (from, to) => tokens.slice(Math.max(0, from), to).map(readable).join("");
          jump.type = "button";
          jump.append(around(index - 4, index), make("b", readable(tokens[index]) || "␣"));
          jump.addEventListener("click", () => { held = true; tell(index); tokens[index].scrollIntoView({ block: "nearest" }); });
          name.append(jump);
          line.append(name, make("td", two === null ? worth[index].toFixed(1) : signed(worth[index], 1)));
        }
        return [make("p", title, "token"), table];
      };
      readout.classList.remove("chosen");
      const count = Math.min(6, tokens.length);
      const parts = two === null ? list("Hardest tokens, bits", order.slice(0, count))
        : [...list(`${names[one]} is furthest ahead, bits`, order.slice(0, count).filter((i) => worth[i] > 0)),
           ...list(`${names[two]} is furthest ahead, bits`, order.slice(-count).reverse().filter((i) => worth[i] < 0))];
      readout.replaceChildren(...parts, make("p", "Point at a token, tap it, or use the arrow keys.", "prompt"));
    }
    const readable = (token) => token.textContent.replace(/\n/g, "");

    passage.addEventListener("pointerover", (event) => {
      const index = tokens.indexOf(event.target.closest(".passage > span"));
      if (index >= 0 && index !== current && !held) tell(index);
    });
    passage.addEventListener("click", (event) => {
      const index = tokens.indexOf(event.target.closest(".passage > span"));
      if (index >= 0) { held = !(held && index === current); tell(index); }
    });
    passage.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "mouse" || held) return;
      tokens[current]?.classList.remove("current");
      current = -1;
      summarise();
    });
    passage.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10 }[event.key];
      if (!step) return;
      event.preventDefault();
      held = true;
      tell(Math.min(tokens.length - 1, Math.max(0, current + step)));
      tokens[current].scrollIntoView({ block: "nearest" });
    });
    model.addEventListener("change", colour);
    other?.addEventListener("change", colour);
    toggle?.addEventListener("click", () => {
      const comparing = other.value !== "";
      other.value = comparing ? "" : String(against[1]);
      if (!comparing) model.value = String(against[0]);
      colour();
    });
    model.value = "0";
    if (other) other.value = "";
    colour();
  });
})();
