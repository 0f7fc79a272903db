/* Shows all series in a table that can be searched, sorted and paged. `site` leads to the folder of
   the series' pages; without it (null) names are no links. */
const showTable = (data, site) => {
  const section = document.getElementById("all-rows");
  const [head, body] = [section.querySelector("thead"), section.querySelector("tbody")];
  const [search, count] = ["search", "count"].map((id) => document.getElementById(id));
  const [previous, next] = ["previous", "next-page"].map((id) => document.getElementById(id));
  const PAGE = 50;
  const lower = data.name.map((name) => name.toLowerCase());

  const number = (value, i) => written(value, data.decimals[i]);
  const miss = (value, i) => {
    const size = value === null ? "–" : number(Math.abs(value), i);
    return value === null ? size : /[1-9]/.test(size) ? `${size} too ${value > 0 ? "high" : "low"}` : "none";
  };
  /* The rank among those that need attention: by surprise; the others follow. */
  const attention = (i) => (data.looks[data.look[i]] ? 1e6 : 0) + (data.surprise[i] ?? 0);
  const columns = [
    { title: "Series", key: (i) => lower[i] },
    { title: "Last week", key: (i) => data.last[i], text: (i) => number(data.last[i], i) },
    { title: "Next week", key: (i) => data.next[i], text: (i) => number(data.next[i], i) },
    {
      title: "Likely range",
      key: (i) => (data.low[i] === null ? null : data.high[i] - data.low[i]),
      text: (i) => (data.low[i] === null ? "–" : `${number(data.low[i], i)} to ${number(data.high[i], i)}`),
    },
    { title: "Last week’s forecast", key: (i) => data.miss[i], text: (i) => miss(data.miss[i], i) },
    { title: "Look at", kind: "text long", key: (i) => attention(i), text: (i) => data.looks[data.look[i]] },
    { title: "Model", kind: "text long", key: (i) => data.models[data.model[i]], text: (i) => data.models[data.model[i]] },
  ];

  let [sorted, isDown, page] = [columns.findIndex(({ title }) => title === "Look at"), true, 0];
  let matches = [];

  const element = (name, text, attributes = {}) => {
    const node = document.createElement(name);
    node.textContent = text;
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const row = (i) => {
    const node = document.createElement("tr");
    const first = element("th", "", { scope: "row" });
    const name = element("bdi", data.name[i]);
    if (site !== null) {
      const link = element("a", "", { href: `${site}series.html#${encodeURIComponent(data.name[i])}` });
      link.append(name);
      first.append(link);
    } else first.append(name);
    const unit = data.units[data.unit[i]];
    if (unit) first.append(element("small", unit));
    node.append(first);
    for (const { title, text, kind = "" } of columns.slice(1)) {
      node.append(element("td", text(i), { "data-label": title, class: kind }));
    }
    return node;
  };
  const show = () => {
    const start = page * PAGE;
    const rows = matches.slice(start, start + PAGE);
    body.replaceChildren(...rows.map(row));
    const span = rows.length ? `${(start + 1).toLocaleString("en-US")} to ${(start + rows.length).toLocaleString("en-US")} of ` : "";
    count.textContent = `${span}${matches.length.toLocaleString("en-US")} series`;
    previous.parentNode.hidden = matches.length <= PAGE;
    previous.disabled = page === 0;
    next.disabled = start + PAGE >= matches.length;
  };
  const find = () => {
    const query = search.value.trim().toLowerCase();
    const { key } = columns[sorted];
    matches = [...lower.keys()].filter((i) => lower[i].includes(query));
    const keys = new Map(matches.map((i) => [i, key(i)]));
    const isNone = (value) => value === null || value === undefined;
    matches.sort((i, j) => {
      const [a, b] = [keys.get(i), keys.get(j)];
      if (isNone(a) || isNone(b)) return isNone(a) - isNone(b) || i - j;
      return (a < b ? -1 : a > b ? 1 : 0) * (isDown ? -1 : 1) || i - j;
    });
    page = 0;
    show();
  };
  const headers = columns.map(({ title, kind = "" }, position) => {
    const header = element("th", "", { scope: "col", class: kind });
    const button = element("button", title, { type: "button" });
    button.addEventListener("click", () => {
      isDown = sorted === position ? !isDown : position > 0;
      sorted = position;
      headers.forEach((other, i) => other.setAttribute("aria-sort", i === sorted ? (isDown ? "descending" : "ascending") : "none"));
      find();
    });
    header.append(button);
    return header;
  });
  headers[sorted].setAttribute("aria-sort", "descending");
  const line = document.createElement("tr");
  line.append(...headers);
  head.append(line);
  search.addEventListener("input", find);
  previous.addEventListener("click", () => { page -= 1; show(); });
  next.addEventListener("click", () => { page += 1; show(); });
  document.getElementById("no-script").hidden = true;
  section.hidden = false;
  find();
};
