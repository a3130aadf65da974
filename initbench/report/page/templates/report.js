"use strict";

// Only adds to a page that is whole without it: unfolds, sorts tables, shows and hides schemes, names lines, enlarges
// figures, switches axes, copies the command. It reads the page, makes no HTML from text, keeps nothing and connects to nothing.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // ---- parts: what a link leads to is unfolded, as is everything on paper

  function unfold(hash) {
    const wanted = document.getElementById(decodeURIComponent(hash.slice(1)));
    for (let at = wanted?.parentElement; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    if (wanted) wanted.scrollIntoView();
  }

  function setFolds(open) {
    all("main details:not(.schemes)").forEach((part) => (part.open = open));
  }

  function makeUnfolding(line) {
    const button = line.querySelector("button");
    const written = all("main details[open]");
    let every = false;
    line.hidden = false;
    button.addEventListener("click", () => {
      every = !every;
      setFolds(every);
      if (!every) written.forEach((part) => (part.open = true));
      button.textContent = every ? "Fold again" : "Unfold everything";
    });
  }

  let folded = [];
  addEventListener("beforeprint", () => {
    folded = all("main details:not([open])");
    setFolds(true);
  });
  addEventListener("afterprint", () => folded.forEach((part) => (part.open = false)));
  addEventListener("hashchange", () => unfold(location.hash));
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href^='#']");
    if (link) unfold(link.hash); // a second click on the same link changes no hash
  });

  // ---- tables: a click sorts upwards, the next downwards, the third back to the order of the page

  const NEXT = { none: "ascending", ascending: "descending", descending: "none" };

  function makeSortable(table) {
    const written = [...table.tBodies[0].rows];
    const heads = all("thead th", table);
    if (written.length < 2) return;
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const order = NEXT[head.getAttribute("aria-sort") ?? "none"];
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        if (order !== "none") head.setAttribute("aria-sort", order);
        table.tBodies[0].append(...(order === "none" ? written : sorted(written, column, order)));
      });
    });
  }

  // Cells without a number, `never` among them, stand last in either order.
  function sorted(rows, column, order) {
    const sign = order === "ascending" ? 1 : -1;
    const hasNumber = (row) => "sort" in row.cells[column].dataset;
    const number = (row) => Number(row.cells[column].dataset.sort);
    const text = (row) => row.cells[column].textContent;
    const byNumber = (a, b) => sign * ((number(a) > number(b)) - (number(a) < number(b)));
    const byText = (a, b) => sign * text(a).localeCompare(text(b), "en", { numeric: true });
    if (!rows.some(hasNumber)) return [...rows].sort(byText);
    return [...rows.filter(hasNumber).sort(byNumber), ...rows.filter((row) => !hasNumber(row))];
  }

  // ---- schemes: a box each, for all figures at once

  const boxes = all(".schemes input");
  const labels = new Map(boxes.map((box) => [box.value, box.closest("label").textContent.trim()]));

  function showChosen() {
    for (const box of boxes) {
      for (const part of all(`.plate [data-scheme="${box.value}"]`)) part.classList.toggle("off", !box.checked);
    }
    all(".plate").forEach(placeTabStop);
  }

  function setAll(checked) {
    boxes.forEach((box) => (box.checked = checked));
    showChosen();
  }

  // ---- lines: the pointer or the keyboard on one names it, and lights up the same seed in every figure

  const tip = document.getElementById("tip");
  const seedsOf = (plate) => all("[data-seed]:not(.off)", plate);

  function nameOf(part) {
    const label = labels.get(part.dataset.scheme);
    return part.dataset.seed === undefined ? label : `${label}, seed ${part.dataset.seed}`;
  }

  function showTip(part, x, y) {
    hideTip();
    const { scheme, seed } = part.dataset;
    if (!labels.has(scheme)) return;
    if (seed !== undefined) {
      all(`.plate [data-scheme="${scheme}"][data-seed="${seed}"]`).forEach((same) => same.classList.add("lit"));
    }
    tip.textContent = nameOf(part);
    tip.hidden = false;
    tip.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${y + tip.offsetHeight + 24 < innerHeight ? y + 16 : y - tip.offsetHeight - 10}px`;
  }

  function hideTip() {
    all(".lit").forEach((part) => part.classList.remove("lit"));
    tip.hidden = true;
  }

  // A figure is one stop of the tabulator; arrows go from seed to seed within it.
  function placeTabStop(plate) {
    all("[data-seed]", plate).forEach((part) => part.setAttribute("tabindex", "-1"));
    seedsOf(plate)[0]?.setAttribute("tabindex", "0");
  }

  function makeExplorable(plate) {
    const seeds = all("[data-seed]", plate);
    if (!seeds.length || !boxes.length) return;
    // A title of an SVG is a tooltip too, which would stand over ours.
    const title = plate.querySelector(":scope > title");
    plate.setAttribute("aria-label", `${title.textContent}. Use the arrow keys to move between seeds.`);
    plate.removeAttribute("aria-labelledby");
    plate.setAttribute("role", "group");
    title.remove();
    for (const part of seeds) {
      part.setAttribute("role", "img");
      part.setAttribute("aria-label", nameOf(part));
      for (const line of all(":scope > path, :scope > g > path", part)) {
        const hit = line.cloneNode();
        hit.removeAttribute("id");
        hit.classList.add("hit");
        line.after(hit);
      }
    }
    placeTabStop(plate);
  }

  function walk(event) {
    if (event.key === "Escape") hideTip();
    const part = event.target.closest?.(".plate [data-seed]");
    if (!part) return;
    const seeds = seedsOf(part.closest(".plate"));
    const here = seeds.indexOf(part);
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const place = { Home: 0, End: seeds.length - 1 }[event.key] ?? (step && here + step);
    if (place === undefined) return;
    event.preventDefault();
    const next = seeds[(place + seeds.length) % seeds.length];
    part.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  }

  document.addEventListener("pointerover", (event) => {
    const part = event.target.closest?.(".plate [data-scheme]");
    if (part) showTip(part, event.clientX, event.clientY);
    else hideTip();
  });
  document.addEventListener("focusin", (event) => {
    const part = event.target.closest?.(".plate [data-seed]");
    if (!part) return hideTip();
    const { right, top, height } = part.getBoundingClientRect();
    showTip(part, right, top + height / 2);
  });
  document.addEventListener("keydown", walk);

  // ---- axes: of two drawings of the same figure one is shown

  function makeSwitch(twins) {
    const figures = all("figure", twins);
    const choices = all("input", twins);
    const show = () => figures.forEach((figure, i) => (figure.hidden = !choices[i].checked));
    twins.addEventListener("change", show);
    twins.addEventListener("change", settle);
    twins.querySelector("fieldset").hidden = false;
    show();
  }

  // ---- figures that are smaller than they were drawn: a tap or a button enlarges them

  const SMALL = 0.75; // of the size as drawn

  function makeEnlargeable(figure) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "zoom";
    figure.append(button);
    button.addEventListener("click", () => zoom(figure, 0));
    figure.querySelector(".wide").addEventListener("click", (event) => {
      const plate = event.target.closest(".plate");
      if (!plate || button.hidden || figure.classList.contains("zoomed")) return;
      const { left, width } = plate.getBoundingClientRect();
      zoom(figure, (event.clientX - left) / width);
    });
  }

  // What is at `share` of the figure's width comes to the middle of its box.
  function zoom(figure, share) {
    figure.classList.toggle("zoomed");
    settle();
    const box = figure.querySelector(".wide");
    box.scrollLeft = share * box.scrollWidth - box.clientWidth / 2;
  }

  function placeZoom(figure) {
    const widthOf = (drawn) => drawn.getBoundingClientRect().width;
    const plate = all(".plate", figure).find(widthOf);
    const zoomed = figure.classList.contains("zoomed");
    const button = figure.querySelector(".zoom");
    button.textContent = zoomed ? "Show the whole figure" : "Enlarge";
    button.hidden = !plate || (!zoomed && widthOf(plate) > SMALL * Number(plate.getAttribute("width")));
  }

  // ---- what is wider than the page is a stop of the tabulator, so that arrows can move it

  function settle() {
    enlargeable.forEach(placeZoom);
    for (const box of all(".wide")) {
      if (box.scrollWidth > box.clientWidth) box.setAttribute("tabindex", "0");
      else box.removeAttribute("tabindex");
    }
  }

  // ---- the command

  function makeCopier(line) {
    const command = document.getElementById("command");
    line.hidden = false;
    line.querySelector("button").addEventListener("click", async () => {
      getSelection().selectAllChildren(command);
      let copied = true;
      try {
        await navigator.clipboard.writeText(command.textContent);
      } catch {
        copied = document.execCommand("copy");
      }
      line.querySelector("[role=status]").textContent = copied ? "Copied." : "Selected: copy it by hand.";
    });
  }

  const enlargeable = all("figure:has(.plate)");
  all("table:has(thead)").forEach(makeSortable);
  all(".plate").forEach(makeExplorable);
  all(".twins").forEach(makeSwitch);
  all(".copy").forEach(makeCopier);
  all(".unfold").forEach(makeUnfolding);
  enlargeable.forEach(makeEnlargeable);
  for (const bar of all(".schemes")) {
    bar.hidden = false;
    bar.open = matchMedia("(min-width: 40rem)").matches;
    bar.addEventListener("change", showChosen);
    bar.addEventListener("click", (event) => {
      if (event.target.value === "all" || event.target.value === "none") setAll(event.target.value === "all");
    });
  }
  addEventListener("resize", settle);
  document.addEventListener("toggle", settle, true);
  settle();
  if (location.hash) unfold(location.hash);
})();
