// Searches, sorts and lengthens the index of latents; without it the first lines stand as they are.
(() => {
  "use strict";
  const STEP = 200;
  const at = (id) => document.getElementById(id);
  const { columns, names } = JSON.parse(at("index-data").textContent);
  const n = columns.latent.length;
  const table = at("latent-index");
  const body = table.tBodies[0];
  const haystack = columns.about.map((about, i) => `${columns.latent[i]} ${about}`.toLowerCase());
  const order = Array.from({ length: n }, (_, i) => i);
  let by = null;
  let down = false;
  let found = order;
  let shown = 0;

  const element = (tag, text = "", className = "") => {
    const made = document.createElement(tag);
    made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  const number = (value) => (value === null ? "–" : value.toFixed(2));
  const percent = (value) => (value > 0 && value < 0.05 ? "<0.1%" : `${value.toFixed(1)}%`);

  function line(i) {
    const row = document.createElement("tr");
    const first = element("td");
    if (columns.card[i]) {
      const link = element("a", columns.latent[i]);
      link.href = `#latent-${columns.latent[i]}`;
      first.append(link);
    } else {
      first.textContent = columns.latent[i];
    }
    const name = names[columns.class[i]];
    const label = element("td");
    label.append(element("i", "", `dot ${name}`), ` ${name}`);
    if (columns.dense[i]) label.append(" ", element("span", "dense", "tag"));
    const scored = columns.score[i] !== null;
    const range = scored ? `[${number(columns.low[i])}, ${number(columns.high[i])}]` : "–";
    const about = element("td", columns.about[i], "about");
    about.dir = "auto";
    row.append(
      first,
      label,
      about,
      element("td", number(columns.score[i])),
      element("td", range),
      element("td", percent(columns.image[i])),
      element("td", percent(columns.text[i])),
    );
    return row;
  }

  function lengthen() {
    const end = Math.min(shown + STEP, found.length);
    body.append(...found.slice(shown, end).map(line));
    shown = end;
    const left = found.length - shown;
    at("finder-more").hidden = left === 0;
    at("finder-more").textContent = `Show ${Math.min(STEP, left)} more of ${left.toLocaleString("en")}`;
    const total = n.toLocaleString("en");
    at("finder-count").textContent =
      found.length === n ? `${total} latents` : `${found.length.toLocaleString("en")} of ${total} latents`;
  }

  function refresh() {
    // Every word must occur; a number alone names a latent.
    const words = at("finder-text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = at("finder-class").value;
    const alone = words.length === 1 && /^\d+$/.test(words[0]);
    found = order.filter((i) => {
      if (kind === "dense" ? !columns.dense[i] : kind !== "" && columns.class[i] !== Number(kind)) return false;
      if (alone && String(columns.latent[i]) === words[0]) return true;
      return words.every((word) => haystack[i].includes(word));
    });
    if (by !== null) found.sort(compare);
    // The latent of that very number first.
    if (alone) found.sort((a, b) => (String(columns.latent[b]) === words[0]) - (String(columns.latent[a]) === words[0]));
    body.replaceChildren();
    shown = 0;
    lengthen();
  }

  function compare(a, b) {
    const x = columns[by][a];
    const y = columns[by][b];
    // What has no value stands last, whichever way is up.
    const lacks = (value) => value === null || value === "";
    if (lacks(x) || lacks(y)) return lacks(x) - lacks(y);
    const difference = typeof x === "string" ? x.localeCompare(y) : x - y;
    return down ? -difference : difference;
  }

  for (const head of table.tHead.querySelectorAll("[data-by]")) {
    const button = element("button", head.textContent);
    button.type = "button";
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const same = by === head.dataset.by;
      down = same ? !down : ["score", "image", "text"].includes(head.dataset.by);
      by = head.dataset.by;
      for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      refresh();
    });
  }
  at("finder-text").addEventListener("input", refresh);
  at("finder-class").addEventListener("change", refresh);
  at("finder-more").addEventListener("click", lengthen);
  at("finder").hidden = false;
  refresh();
})();
