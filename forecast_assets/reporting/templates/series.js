(() => {
  const [site, byId] = [globalThis.forecastAssets, (id) => document.getElementById(id)];
  const FIRST_ROWS = innerWidth < 740 ? 5 : 13;
  const say = (text) => {
    byId("message").textContent = text;
    byId("message").hidden = !text;
    byId("page").hidden = Boolean(text);
  };
  const fill = (id, texts) => {
    byId(id).replaceChildren(...texts.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  };
  const draw = (series) => {
    const box = byId("chart");
    const width = Math.max(box.clientWidth || 900, 300);
    const { svg, weekAt } = drawChart(series, width, width < 600 ? 52 : 104);
    svg.addEventListener("pointermove", (event) => {
      const week = weekAt(((event.clientX - svg.getBoundingClientRect().left) / svg.clientWidth) * width);
      const was = week.was === null ? "" : `, forecast ${written(week.was, series.decimals)}`;
      byId("readout").textContent = `Week ending ${dayText(week.time)}: ${written(week.y, series.decimals)}${was}`;
    });
    box.replaceChildren(svg);
  };
  const pastRows = (series) => {
    const rows = [];
    series.was.forEach((was, k) => {
      if (was === null) return;
      const [i, low, high] = [series.from + k, series.low[k], series.high[k]];
      const value = series.y[i];
      const side = low === null ? "–" : value < low ? "◆ below the likely range" : value > high ? "◆ above the likely range" : "in the likely range";
      const text = (number) => written(number, series.decimals);
      const cells = [["Value", text(value)], ["Forecast", text(was)], ["Likely range", low === null ? "–" : `${text(low)} to ${text(high)}`], ["The value was", side]];
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = dayText(Date.parse(series.start) + 7 * DAY * i);
      row.append(head);
      for (const [label, content] of cells) {
        const cell = document.createElement("td");
        cell.dataset.label = label;
        cell.textContent = content;
        if (label === "The value was") cell.className = content.startsWith("◆") ? "text off" : "text";
        row.append(cell);
      }
      rows.push(row);
    });
    return rows.reverse();
  };
  const show = (series) => {
    document.title = `${series.name}: weekly forecast`;
    const name = document.createElement("bdi");
    name.textContent = series.name;
    byId("name").replaceChildren(name);
    byId("about").textContent = [series.unit, series.parts, `data as of ${site.head.as_of}`].filter(Boolean).join(" · ");
    byId("expected").textContent = series.override ? `${series.expect} Set by a person: ${series.override.text}.` : series.expect;
    byId("record").textContent = series.record;
    const spells = series.spells.map(([day, model, n]) => [`since the week ending ${day} (${n} ${n === 1 ? "week" : "weeks"})`, model]).reverse();
    byId("model").textContent = `${series.model}, ${spells[0][0]}${series.members ? `. It combines ${series.members}.` : ""}`;
    fill("spells", spells.slice(1).map(([since, model]) => `before: ${model}, ${since}`));
    byId("spells").hidden = spells.length < 2;
    byId("why").textContent = series.why;
    const reasons = series.look.split("; ").filter((reason) => reason && !reason.startsWith("data: "));
    const looks = [...reasons, ...series.findings, ...series.excluded.map(([from, to, why]) => `left out from ${from} to ${to}: ${why}`)];
    byId("looks").hidden = !looks.length;
    fill("look-list", looks);
    byId("moves").hidden = !series.moved.length;
    fill("moved-list", series.moved);
    const rows = pastRows(series);
    byId("past-section").hidden = !rows.length;
    for (const node of document.querySelectorAll(".if-past")) node.hidden = !rows.length;
    byId("key-override").hidden = !series.override;
    byId("past-rows").replaceChildren(...rows.slice(0, FIRST_ROWS));
    const more = byId("more");
    more.hidden = rows.length <= FIRST_ROWS;
    more.textContent = `Show all ${rows.length} weeks`;
    more.onclick = () => {
      byId("past-rows").replaceChildren(...rows);
      more.hidden = true;
    };
    say("");
    draw(series);
    globalThis.onresize = () => draw(series);
  };
  const nameOf = (address) => {
    try {
      return decodeURIComponent(address);
    } catch {
      return address;
    }
  };
  const open = () => {
    if (!site) return say("The data of the series are missing: `forecast-assets site` writes them.");
    const name = nameOf(location.hash.slice(1));
    const position = site.rows ? site.rows.name.indexOf(name) : -1;
    if (position < 0) return say(name ? `${name} is not in the newest forecast.` : "No series is chosen: choose one among all series.");
    const number = Math.floor(position / site.head.seriesPerFile);
    const found = () => {
      const series = (site.files[number] || []).find((one) => one.name === name);
      if (series) show(series);
      else say("The pages are being written: load this page again.");
    };
    if (site.files[number]) return found();
    say("Loading …");
    const script = document.createElement("script");
    script.src = `series/${number}.js`;
    script.onload = found;
    script.onerror = () => say("The data of this series are missing: `forecast-assets site` writes them.");
    document.head.append(script);
    return undefined;
  };
  if (site && site.head.report) {
    byId("week").href = site.head.report;
    byId("week").hidden = false;
  }
  globalThis.addEventListener("hashchange", open);
  open();
})();
