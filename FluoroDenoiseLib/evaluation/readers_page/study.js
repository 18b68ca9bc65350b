"use strict";
// The study: a reader, the cases in an order of their own, five questions for each picture, answers kept and saved.

const FACTS = JSON.parse(document.getElementById("facts").textContent);
const COLUMNS = ["study", "reader", "order", "case", "position", "code", ...FACTS.questions.map((one) => one.name), "seconds", "comment"];
const find = (id) => document.getElementById(id);

/** A copy of `list` in random order, always the same for the same text. */
function shuffled(list, text) {
  let state = 2166136261;
  for (const letter of text) state = Math.imul(state ^ letter.codePointAt(0), 16777619);
  const chance = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const copy = [...list];
  for (let last = copy.length - 1; last > 0; last -= 1) {
    const other = Math.floor(chance() * (last + 1));
    [copy[last], copy[other]] = [copy[other], copy[last]];
  }
  return copy;
}

/** What readers have answered, kept by the browser where it does. */
const memory = {
  name: `fluorodenoise reader study ${FACTS.study}`,
  works: true,
  read() {
    try {
      return JSON.parse(localStorage.getItem(this.name)) ?? { last: "", readers: {} };
    } catch {
      return { last: "", readers: {} };
    }
  },
  write(reader, sheets) {
    const all = this.read();
    all.last = reader;
    all.readers[same(reader)] = sheets;
    try {
      localStorage.setItem(this.name, JSON.stringify(all));
    } catch {
      this.works = false;
    }
  },
};
const same = (reader) => reader.trim().toLowerCase();

/** One reader's way through the study. sheets: case code -> { answers: { picture code: { question: 1..5 } }, seconds, comment }. */
class Reading {
  constructor(reader) {
    this.reader = reader.trim();
    this.sheets = memory.read().readers[same(reader)] ?? {};
    this.order = shuffled(FACTS.cases, `${FACTS.study} ${same(reader)}`);
    this.at = Math.max(this.order.findIndex((one) => !this.isDone(one)), 0);
  }

  get case() {
    return this.order[this.at];
  }

  get codes() {
    return shuffled(this.case.pictures, `${FACTS.study} ${same(this.reader)} ${this.case.code}`);
  }

  sheet(one = this.case) {
    return (this.sheets[one.code] ??= { answers: {}, seconds: 0, comment: "" });
  }

  answer(code, question, score) {
    (this.sheet().answers[code] ??= {})[question] = score;
    this.keep();
  }

  answered(code, question) {
    return this.sheets[this.case.code]?.answers[code]?.[question];
  }

  isDone(one) {
    const answers = this.sheets[one.code]?.answers ?? {};
    return one.pictures.every((code) => FACTS.questions.every((question) => answers[code]?.[question.name]));
  }

  get done() {
    return this.order.filter((one) => this.isDone(one)).length;
  }

  keep() {
    memory.write(this.reader, this.sheets);
  }

  /** The answers of all finished cases, a line for each picture. */
  csv() {
    const lines = [COLUMNS];
    this.order.forEach((one, index) => {
      if (!this.isDone(one)) return;
      const { answers, seconds, comment } = this.sheets[one.code];
      shuffled(one.pictures, `${FACTS.study} ${same(this.reader)} ${one.code}`).forEach((code, position) => {
        const scores = FACTS.questions.map((question) => answers[code][question.name]);
        lines.push([FACTS.study, this.reader, index + 1, one.code, "ABCDEF"[position], code, ...scores, seconds.toFixed(1), comment]);
      });
    });
    return lines.map((line) => line.map(csvField).join(",") + "\r\n").join("");
  }
}

/** A field as CSV; a space keeps a spreadsheet from taking it for a formula. */
function csvField(value) {
  const text = String(value).replace(/^(?=[=+\-@])/, " ");
  return /[",;\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

let reading;
let since; // when the seconds of the shown case were last counted
const viewer = new Viewer(find("panels"), describe);

function show(id) {
  for (const part of document.querySelectorAll("main")) part.hidden = part.id !== id;
  find("save-early").hidden = id !== "case" || !reading.done;
  find("progress").hidden = id === "welcome" || id === "broken";
}

function element(tag, name, text = "") {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;
  return made;
}

/** The questions on one picture. */
function sheetOf(code, letter) {
  const sheet = element("div", "sheet");
  sheet.append(element("h3", "", `Picture ${letter}`));
  for (const question of FACTS.questions) {
    const group = element("fieldset", "question");
    [group.dataset.code, group.dataset.question] = [code, question.name];
    group.setAttribute("aria-label", `Picture ${letter}: ${question.title}, 1 ${question.worst}, 5 ${question.best}`);
    const scale = element("span", "scale");
    for (const score of FACTS.scale) {
      const choice = element("label", "");
      const radio = choice.appendChild(document.createElement("input"));
      Object.assign(radio, { type: "radio", name: `${code} ${question.name}`, value: score, checked: reading.answered(code, question.name) === score });
      radio.setAttribute("aria-label", `${score} of 5`);
      choice.append(element("span", "", score));
      scale.append(choice);
    }
    group.append(element("span", "title", question.title), element("span", "worst", question.worst), scale, element("span", "best", question.best));
    sheet.append(group);
  }
  return sheet;
}

const groups = () => [...document.querySelectorAll(".question")];
const isAnswered = (group) => reading.answered(group.dataset.code, group.dataset.question) !== undefined;

/** Mark the question that the digits answer, and its picture. */
function mark(group) {
  groups().forEach((one) => one.classList.toggle("current", one === group));
  viewer.panels.forEach((panel, index) => panel.element.classList.toggle("marked", reading.codes[index] === group?.dataset.code));
}

function focusOn(group) {
  (group?.querySelector("input:checked") ?? group?.querySelector("input") ?? find("next")).focus();
  if (!group) mark(undefined);
}

async function showCase() {
  show("case");
  const facts = reading.case;
  const columns = facts.pictures.length > 3 ? Math.ceil(facts.pictures.length / 2) : facts.pictures.length;
  document.body.style.setProperty("--columns", columns);
  find("questions").replaceChildren();
  find("missing").textContent = "";
  find("next").disabled = true;
  since = undefined;
  const loading = (share) => (find("notice").textContent = share < 1 ? `Loading ${Math.round(100 * share)} %` : "");
  if (!(await viewer.show(facts, reading.codes, loading))) return;
  find("questions").replaceChildren(...reading.codes.map((code, index) => sheetOf(code, "ABCDEF"[index])));
  find("comment").value = reading.sheet().comment;
  find("next").disabled = false;
  find("next").textContent = reading.at + 1 < reading.order.length ? "Next" : "Finish";
  find("previous").disabled = reading.at === 0;
  find("player").hidden = facts.frames < 2;
  find("frame").max = facts.frames - 1;
  since = performance.now();
  describe();
  focusOn(groups().find((group) => !isAnswered(group)));
  if (facts.frames > 1) viewer.play();
  describe();
}

/** Keep what stands on the screen in words and marks true to what it shows. */
function describe() {
  if (find("case").hidden || !viewer.panels.length) return;
  const { frame, facts } = viewer;
  find("play").textContent = viewer.playing ? "Pause" : "Play";
  find("frame").value = frame;
  find("frame-number").value = `${frame + 1} of ${facts.frames}`;
  find("window").value = viewer.window.words;
  find("zoom").value = `${viewer.zoom.factor.toFixed(1)} x`;
  find("invert").setAttribute("aria-pressed", viewer.window.inverted);
  for (const button of document.querySelectorAll("[data-window]")) button.classList.toggle("chosen", button.dataset.window === viewer.window.name);
  find("whereabouts").textContent = `Case ${reading.at + 1} of ${reading.order.length}`;
  find("progress").max = reading.order.length;
  find("progress").value = reading.done;
  find("save-early").hidden = !reading.done;
  if (!memory.works) find("notice").textContent = "This browser keeps nothing: do not close the page before you have saved.";
}

/** Count the seconds since the case was shown or last counted, while the page can be seen. */
function count(seen = document.visibilityState === "visible") {
  if (since === undefined) return;
  if (seen) reading.sheet().seconds += (performance.now() - since) / 1000;
  since = performance.now();
}

function take(group, score) {
  count();
  group.querySelector(`input[value="${score}"]`).checked = true;
  group.classList.remove("wanted");
  find("missing").textContent = "";
  reading.answer(group.dataset.code, group.dataset.question, score);
  describe();
}

function go(step) {
  count();
  since = undefined;
  reading.keep();
  viewer.pause();
  if (reading.at + step < reading.order.length) {
    reading.at += step;
    return showCase();
  }
  show("finish");
  find("progress").value = reading.done;
  find("whereabouts").textContent = `${reading.done} of ${reading.order.length} cases done`;
  find("save").focus();
}

function next() {
  const open = groups().filter((group) => !isAnswered(group));
  if (find("next").disabled) return;
  if (!open.length) return go(1);
  groups().forEach((group) => group.classList.toggle("wanted", open.includes(group)));
  find("missing").textContent = open.length === 1 ? "One question is open." : `${open.length} questions are open.`;
  focusOn(open[0]);
}

function save() {
  count();
  reading.keep();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff" + reading.csv()], { type: "text/csv" }));
  link.download = `scores_${FACTS.study}_${reading.reader.replace(/[^\p{L}\p{N}]+/gu, "_")}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  find("saved").textContent = find("notice").textContent = `${link.download} is saved, with ${reading.done} of ${reading.order.length} cases.`;
}

/** Say before the start whether this reader has been here. */
function lookUp() {
  const reader = find("reader").value;
  const known = same(reader) && memory.read().readers[same(reader)];
  const done = known ? new Reading(reader).done : 0;
  find("found").textContent = known ? `${done} of ${FACTS.cases.length} cases are done here already.` : "";
  find("start").textContent = known ? "Go on" : "Start";
}

function begin(event) {
  event.preventDefault();
  if (!same(find("reader").value)) return find("reader").focus();
  reading = new Reading(find("reader").value);
  reading.keep();
  if (reading.done === reading.order.length) {
    reading.at = reading.order.length - 1;
    return go(1);
  }
  return showCase();
}

const KEYS = {
  p: () => viewer.toggle(), " ": () => viewer.toggle(), ",": () => viewer.goTo(viewer.frame - 1), ".": () => viewer.goTo(viewer.frame + 1),
  "+": () => viewer.zoomBy(1.25), "-": () => viewer.zoomBy(0.8), n: next,
};

function press(event) {
  const where = event.target;
  if (find("case").hidden || !viewer.panels.length || event.ctrlKey || event.metaKey || event.altKey) return;
  if (where.matches("#comment, select")) return;
  if (event.key === " " && where.matches("button, input")) return;
  const current = document.querySelector(".question.current");
  if (FACTS.scale.includes(Number(event.key)) && current) {
    take(current, Number(event.key));
    focusOn(groups().find((group) => !isAnswered(group)));
  } else if (KEYS[event.key.toLowerCase()]) KEYS[event.key.toLowerCase()]();
  else return;
  event.preventDefault();
}

function connect() {
  find("case-count").textContent = FACTS.cases.length;
  find("reader").value = memory.read().last;
  find("reader").addEventListener("input", lookUp);
  find("begin").addEventListener("submit", begin);
  find("questions").addEventListener("change", (event) => take(event.target.closest(".question"), Number(event.target.value)));
  find("questions").addEventListener("focusin", (event) => mark(event.target.closest(".question")));
  find("questions").addEventListener("submit", (event) => event.preventDefault());
  find("comment").addEventListener("input", () => {
    reading.sheet().comment = find("comment").value;
    reading.keep();
  });
  const clicks = {
    play: () => viewer.toggle(), "back-frame": KEYS[","], "next-frame": KEYS["."], invert: () => viewer.invert(), fit: () => viewer.fit(),
    "zoom-in": KEYS["+"], "zoom-out": KEYS["-"], next, previous: () => go(-1), save, "save-early": save, review: () => go(0),
  };
  for (const [id, action] of Object.entries(clicks)) find(id).addEventListener("click", action);
  for (const button of document.querySelectorAll("[data-window]")) button.addEventListener("click", () => viewer.choose(button.dataset.window));
  find("frame").addEventListener("input", () => viewer.goTo(Number(find("frame").value)));
  find("speed").addEventListener("change", () => (viewer.speed = Number(find("speed").value)));
  document.addEventListener("keydown", press);
  document.addEventListener("visibilitychange", () => {
    count(document.visibilityState === "hidden"); // until it was hidden it was seen, and until it came back it was not
    reading?.keep();
  });
  lookUp();
  find("reader").focus();
}

function giveUp(reason) {
  viewer.pause();
  show("broken");
  find("reason").textContent = reason;
}

window.addEventListener("unhandledrejection", (event) => giveUp(`Something in it is damaged (${event.reason?.message}); ask for the page again.`));
if (window.DecompressionStream && window.ResizeObserver) connect();
else giveUp("This browser is too old: take Chrome or Edge from 80, Firefox from 113 or Safari from 16.4 on.");
