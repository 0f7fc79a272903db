"use strict";
(() => {
  const data = JSON.parse(document.getElementById("rows").textContent);
  const everything = document.getElementById("everything");
  const [head, body] = [everything.querySelector("thead"), everything.querySelector("tbody")];
  const [search, count] = ["search", "count"].map((id) => document.getElementById(id));
  const [before, after] = ["before", "after"].map((id) => document.getElementById(id));
  const PAGE = 50;
  const lower = data.name.map((name) => name.toLowerCase());

  const number = (value, i) => {
    if (value === null) return "–";
    const digits = { minimumFractionDigits: data.decimals[i], maximumFractionDigits: data.decimals[i] };
    const text = (value / 10 ** data.power[i]).toLocaleString("en-US", digits);
    return /[1-9]/.test(text) ? text.replace("-", "−") : text.replace("-", "");
  };
  const missed = (value, i) => {
    const size = value === null ? "–" : number(Math.abs(value), i);
    return value === null ? size : /[1-9]/.test(size) ? `${size} too ${value > 0 ? "high" : "low"}` : "none";
  };
  const columns = [
    { title: "Series", key: (i) => lower[i] },
    { title: "Next week", key: (i) => data.next[i], text: (i) => number(data.next[i], i) },
    {
      title: `${data.level} % interval`,
      key: (i) => (data.low[i] === null ? null : data.high[i] - data.low[i]),
      text: (i) => (data.low[i] === null ? "–" : `${number(data.low[i], i)} to ${number(data.high[i], i)}`),
    },
    { title: "Last week", key: (i) => data.last[i], text: (i) => number(data.last[i], i) },
    { title: "Its forecast was", key: (i) => data.miss[i], text: (i) => missed(data.miss[i], i) },
    { title: "Surprise", key: (i) => data.surprise[i], text: (i) => (data.surprise[i] === null ? "–" : data.surprise[i].toFixed(1)) },
    { title: "By", kind: "text", key: (i) => data.makers[data.maker[i]], text: (i) => data.makers[data.maker[i]] },
  ];

  let [sorted, isDown, page] = [0, false, 0];
  let found = [];

  const element = (name, text, attributes = {}) => {
    const made = document.createElement(name);
    made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const row = (i) => {
    const made = document.createElement("tr");
    const first = element("th", "", { scope: "row" });
    first.append(element("bdi", data.name[i]));
    const label = data.labels[data.label[i]];
    if (label) first.append(element("small", label));
    made.append(first);
    for (const { title, text, kind = "" } of columns.slice(1)) {
      made.append(element("td", text(i), { "data-label": title, class: kind }));
    }
    return made;
  };
  const show = () => {
    const start = page * PAGE;
    const rows = found.slice(start, start + PAGE);
    body.replaceChildren(...rows.map(row));
    const span = rows.length ? `${(start + 1).toLocaleString("en-US")} to ${(start + rows.length).toLocaleString("en-US")} of ` : "";
    count.textContent = `${span}${found.length.toLocaleString("en-US")} series`;
    before.disabled = page === 0;
    after.disabled = start + PAGE >= found.length;
  };
  const find = () => {
    const wanted = search.value.trim().toLowerCase();
    const { key } = columns[sorted];
    found = [...lower.keys()].filter((i) => lower[i].includes(wanted));
    const keys = new Map(found.map((i) => [i, key(i)]));
    const isNone = (value) => value === null || value === undefined;
    found.sort((i, j) => {
      const [a, b] = [keys.get(i), keys.get(j)];
      if (isNone(a) || isNone(b)) return isNone(a) - isNone(b) || i - j;
      return (a < b ? -1 : a > b ? 1 : 0) * (isDown ? -1 : 1) || i - j;
    });
    page = 0;
    show();
  };
  const heads = columns.map(({ title, kind = "" }, place) => {
    const cell = element("th", "", { scope: "col", class: kind });
    const button = element("button", title, { type: "button" });
    button.addEventListener("click", () => {
      isDown = sorted === place ? !isDown : place > 0;
      sorted = place;
      heads.forEach((one, i) => one.setAttribute("aria-sort", i === sorted ? (isDown ? "descending" : "ascending") : "none"));
      find();
    });
    cell.append(button);
    return cell;
  });
  heads[0].setAttribute("aria-sort", "ascending");
  const line = document.createElement("tr");
  line.append(...heads);
  head.append(line);
  search.addEventListener("input", find);
  before.addEventListener("click", () => { page -= 1; show(); });
  after.addEventListener("click", () => { page += 1; show(); });
  document.getElementById("without").hidden = true;
  everything.hidden = false;
  find();
})();
