// What is wrong with this page for those who cannot see it, hear it, or use a mouse: a line each.
() => {
  const wrong = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const told = (e) => e.outerHTML.slice(0, 120);
  const name = (e) => (e.getAttribute("aria-label") || e.textContent || "").trim()
    || [...e.querySelectorAll("img[alt]")].map((i) => i.alt).join(" ");

  if (!document.documentElement.lang) wrong.push("the page has no language");
  if (!document.title.trim()) wrong.push("the page has no title");
  if (all("h1").length !== 1) wrong.push(`it has ${all("h1").length} headings of the first level`);
  if (all("main").length !== 1) wrong.push("it has not one main landmark");
  let level = 0;
  for (const heading of all("h1, h2, h3, h4, h5, h6")) {
    const now = Number(heading.tagName[1]);
    if (now > level + 1) wrong.push(`a heading skips a level: ${told(heading)}`);
    level = now;
  }
  const labels = all("nav").map((nav) => nav.getAttribute("aria-label"));
  if (labels.includes(null) || new Set(labels).size !== labels.length) wrong.push(`navs: ${labels}`);
  const ids = all("[id]").map((e) => e.id);
  for (const id of ids) if (ids.filter((other) => other === id).length > 1) wrong.push(`id ${id} twice`);
  for (const e of all("[aria-labelledby], [aria-describedby], label[for]")) {
    const names = e.getAttribute("aria-labelledby") || e.getAttribute("aria-describedby") || e.htmlFor;
    for (const id of names.split(" ")) if (!ids.includes(id)) wrong.push(`nothing is called ${id}`);
  }
  for (const e of all("img")) if (!e.alt.trim()) wrong.push(`no alternative: ${told(e)}`);
  for (const e of all("svg")) {
    if (e.getAttribute("aria-hidden") !== "true" && !e.getAttribute("aria-label")) wrong.push(`no name: ${told(e)}`);
  }
  for (const e of all("input:not([type=hidden], [hidden]), select, textarea")) {
    if (!e.labels.length && !e.getAttribute("aria-label")) wrong.push(`no label: ${told(e)}`);
  }
  for (const e of all("a[href], button, summary")) if (!name(e)) wrong.push(`no name: ${told(e)}`);
  for (const e of all("th")) {
    if (!e.scope && !e.getAttribute("role")) wrong.push(`no scope: ${told(e)}`);
  }
  for (const e of all("[tabindex]")) if (e.tabIndex > 0) wrong.push(`tabindex: ${told(e)}`);
  for (const e of all("main *")) {
    const scrolls = ["auto", "scroll"].includes(getComputedStyle(e).overflowX) && e.scrollWidth > e.clientWidth;
    const within = e.tabIndex === 0 || e.querySelector("a[href], button, input, summary");
    if (scrolls && !within) wrong.push(`scrolls out of the keyboard's reach: ${told(e)}`);
  }
  for (const e of all("nav a, nav button, .button")) {
    const box = e.getBoundingClientRect();
    if (box.height && box.height < 24) wrong.push(`too low to be hit by a finger: ${told(e)}`);
  }

  // Contrast after WCAG 2.2, of every piece of text against what is painted behind it.
  const numbers = (color) => {
    const found = color.match(/[\d.]+/g).map(Number);
    const scale = color.startsWith("color(") ? 255 : 1;
    return [found[0] * scale, found[1] * scale, found[2] * scale, found[3] ?? 1];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const behind = (e) => {
    const layers = [];
    for (let at = e; at; at = at.parentElement) layers.unshift(numbers(getComputedStyle(at).backgroundColor));
    return layers.reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const light = (color) => {
    const [r, g, b] = color.slice(0, 3).map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  for (const e of all("body *")) {
    const text = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!text || !e.checkVisibility() || e.closest("svg, .hidden, script, option")) continue;
    const style = getComputedStyle(e);
    const ground = behind(e);
    const [a, b] = [light(over(numbers(style.color), ground)), light(ground)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && style.fontWeight >= 600) ? 3 : 4.5;
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < needed) wrong.push(`contrast ${ratio.toFixed(2)}: ${told(e)}`);
  }
  return [...new Set(wrong)];
}
