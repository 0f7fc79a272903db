/* Draws the chart of a series as `svg.py` draws those of a week: history, past forecasts, the fan. */
const DAY = 86400000;
const svgNode = (name, attributes, text) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
};
const dayText = (time) => new Date(time).toISOString().slice(0, 10);

/* Three to six round values between two ends. */
const roundTicks = (low, high) => {
  let step = 10 ** Math.floor(Math.log10((high - low) / 3));
  step *= [5, 2, 1].find((factor) => factor * step <= (high - low) / 3) ?? 1;
  const ticks = [];
  for (let i = Math.ceil(low / step); i <= Math.floor(high / step); i += 1) ticks.push(i * step);
  return [ticks, Math.max(0, -Math.floor(Math.log10(step) + 1e-9))];
};

const drawChart = (series, width, maxWeeks) => {
  const height = Math.round(Math.min(380, Math.max(240, width * 0.4)));
  const start = Date.parse(series.start);
  const first = Math.max(0, series.y.length - maxWeeks);
  const weeks = [];
  for (let i = first; i < series.y.length; i += 1) {
    const k = i - series.from;
    const has = k >= 0 && series.was[k] !== null;
    weeks.push({ time: start + 7 * DAY * i, y: series.y[i], was: has ? series.was[k] : null, low: has ? series.low[k] : null, high: has ? series.high[k] : null });
  }
  const last = weeks[weeks.length - 1];
  const ahead = [last.time, ...series.next.map(Date.parse)];
  const given = series.override ? series.override.y : null;
  const values = [...weeks.flatMap(({ y, was, low, high }) => [y, was, low, high]), ...series.y_hat, ...series.ends.flat(2), given].filter((value) => value !== null);
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (low === high) [low, high] = [low - Math.max(Math.abs(low), 1) / 2, high + Math.max(Math.abs(high), 1) / 2];
  [low, high] = [low - 0.05 * (high - low), high + 0.05 * (high - low)];
  const [ticks, decimals] = roundTicks(low, high);
  const labels = ticks.map((tick) => written(tick, decimals));
  const end = series.y_hat.length - 1;
  const level = series.ends.length ? series.ends[series.shown][1][end] !== null : false;
  const ends = [series.y_hat[end], ...(level ? [series.ends[series.shown][0][end], series.ends[series.shown][1][end]] : [])];
  const right = width - 14 - 8.2 * Math.max(...ends.map((value) => written(value, series.decimals).length));
  const left = 10 + 6.6 * Math.max(...labels.map((label) => label.length));
  const [top, bottom] = [12, height - 24];
  const x = (time) => left + ((time - weeks[0].time) / (ahead[ahead.length - 1] - weeks[0].time)) * (right - left);
  const y = (value) => top + ((high - value) / (high - low)) * (bottom - top);
  const at = (time, value) => `${x(time).toFixed(1)},${y(value).toFixed(1)}`;
  const svg = svgNode("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${series.name}: ${weeks.length} weeks, and the forecast` });
  const add = (name, attributes, text) => svg.append(svgNode(name, attributes, text));
  ticks.forEach((tick, i) => {
    add("line", { class: "grid", x1: left, x2: right, y1: y(tick), y2: y(tick) });
    add("text", { x: left - 5, y: y(tick) + 4, "text-anchor": "end" }, labels[i]);
  });
  const month = (time) => new Date(time).toLocaleDateString("en-GB", { month: "short", year: "numeric", timeZone: "UTC" });
  for (const [share, anchor] of [[0, "start"], [0.5, "middle"], [1, "end"]]) {
    const time = weeks[0].time + share * (ahead[ahead.length - 1] - weeks[0].time);
    add("text", { x: x(time), y: height - 7, "text-anchor": anchor }, month(time));
  }
  for (const [from, to] of series.excluded) {
    const [a, b] = [from, to].map((day) => Math.min(Math.max(x(Date.parse(day)), left), right));
    if (b > a) add("rect", { class: "excluded", x: a, y: top, width: Math.max(b - a, 2), height: bottom - top });
  }
  const opacity = 1 - 0.5 ** (1 / Math.max(series.ends.length, 1));
  for (const [lows, highs] of [...series.ends].reverse()) {
    if (lows.includes(null)) continue;
    const points = [at(last.time, last.y), ...highs.map((value, i) => at(ahead[i + 1], value)), ...lows.map((value, i) => at(ahead[i + 1], value)).reverse()];
    add("polygon", { class: "band", "fill-opacity": opacity.toFixed(3), points: points.join(" ") });
  }
  add("polyline", { class: "actual", points: weeks.map((week) => at(week.time, week.y)).join(" ") });
  for (const week of weeks) {
    if (week.was === null) continue;
    const [px, py] = [x(week.time), y(week.was)];
    if (week.low !== null) add("line", { class: "published", x1: px, x2: px, y1: y(week.high), y2: y(week.low) });
    const isOutside = week.low !== null && (week.y < week.low || week.y > week.high);
    if (isOutside) add("path", { class: "outside", d: `M${px} ${py - 4}l4 4-4 4-4-4z` });
    else add("circle", { class: "inside", cx: px, cy: py, r: 1.9 });
  }
  add("polyline", { class: "forecast", points: [at(last.time, last.y), ...series.y_hat.map((value, i) => at(ahead[i + 1], value))].join(" ") });
  series.y_hat.forEach((value, i) => add("circle", { class: "week", cx: x(ahead[i + 1]), cy: y(value), r: 2.6 }));
  if (given !== null) add("circle", { class: "ring", cx: x(ahead[1]), cy: y(given), r: 4 });
  const sorted = [...ends].sort((a, b) => b - a);
  const tops = sorted.map((value) => y(value) + 4);
  const middle = Math.floor(sorted.length / 2);
  for (let i = middle - 1; i >= 0; i -= 1) tops[i] = Math.min(tops[i], tops[i + 1] - 13);
  for (let i = middle + 1; i < tops.length; i += 1) tops[i] = Math.max(tops[i], tops[i - 1] + 13);
  sorted.forEach((value, i) => add("text", { class: value === ends[0] && i === middle ? "strong" : "", x: right + 8, y: tops[i] }, written(value, series.decimals)));
  const weekAt = (px) => weeks.reduce((best, week) => (Math.abs(x(week.time) - px) < Math.abs(x(best.time) - px) ? week : best));
  return { svg, weekAt, weeks };
};
