"use strict";
// The pictures of a case: unpacked from the page, shown in panels through one window, at one zoom, on one clock.

const TOP = 4095;

/** The levels of one frame, Uint16Array of `count` pixels, from its line of text; see readers_frames.py. */
async function unpackFrame(text, count) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  if (bytes.length !== 2 * count) throw new Error("a frame is damaged");
  const levels = new Uint16Array(count);
  let level = 0;
  for (let at = 0; at < count; at += 1) {
    const zigzag = bytes[at] | (bytes[count + at] << 8);
    level += (zigzag >>> 1) ^ -(zigzag & 1);
    levels[at] = level;
  }
  return levels;
}

/** What is black and what is white, in levels; one for all panels. */
class GreyWindow {
  constructor(facts) {
    this.facts = facts;
    this.inverted = facts.inverted;
    this.choose("standard");
  }

  choose(name) {
    const [low, high] = this.facts.window;
    const [middle, width] = [(low + high) / 2, high - low];
    const bounds = {
      standard: [low, high], contrast: [middle - width / 4, middle + width / 4],
      soft: [low - width / 2, high + width / 2], full: [0, TOP],
    };
    [this.low, this.high] = bounds[name];
    this.name = name;
  }

  /** right and down: shares of a panel; a whole panel to the right doubles the contrast. */
  drag(right, down) {
    const middle = (this.low + this.high) / 2 + down * (this.high - this.low) * (this.inverted ? -1 : 1);
    const width = Math.min(Math.max((this.high - this.low) * 2 ** (-2 * right), 2), 4 * TOP);
    const kept = Math.min(Math.max(middle, -width / 2), TOP + width / 2);
    [this.low, this.high, this.name] = [kept - width / 2, kept + width / 2, ""];
  }

  /** Opaque grey of every level, as canvases store it. */
  greys() {
    return Uint32Array.from({ length: TOP + 1 }, (_, level) => {
      const share = Math.min(Math.max((level - this.low) / (this.high - this.low), 0), 1);
      const grey = Math.round(255 * (this.inverted ? 1 - share : share));
      return (0xff000000 | (grey << 16) | (grey << 8) | grey) >>> 0;
    });
  }

  get words() {
    const stored = (levels) => Math.round(levels * this.facts.step);
    return `level ${stored((this.low + this.high) / 2) + Math.round(this.facts.low)}, width ${stored(this.high - this.low)}`;
  }
}

/** Which part of the pictures is seen: the zoom over the whole picture, and the point in the middle as shares of it. */
class Zoom {
  constructor() {
    this.fit();
  }

  fit() {
    [this.factor, this.x, this.y] = [1, 0.5, 0.5];
  }

  move(right, down) {
    this.x = Math.min(Math.max(this.x - right, 0), 1);
    this.y = Math.min(Math.max(this.y - down, 0), 1);
  }

  /** The point (x, y), shares of the picture, stays where it is. */
  by(factor, x = this.x, y = this.y) {
    const before = this.factor;
    this.factor = Math.min(Math.max(before * factor, 1), 32);
    this.x = x + ((this.x - x) * before) / this.factor;
    this.y = y + ((this.y - y) * before) / this.factor;
    if (this.factor === 1) this.fit();
  }
}

/** One picture, in its panel. */
class Panel {
  constructor(letter, facts, frames) {
    this.facts = facts;
    this.frames = frames;
    this.element = document.createElement("div");
    this.element.className = "panel";
    this.canvas = this.element.appendChild(document.createElement("canvas"));
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `Picture ${letter}`);
    this.element.appendChild(document.createElement("b")).textContent = letter;
    this.image = document.createElement("canvas");
    [this.image.width, this.image.height] = [facts.width, facts.height];
    this.context = this.image.getContext("2d");
    this.pixels = this.context.createImageData(facts.width, facts.height);
    this.greys = new Uint32Array(this.pixels.data.buffer);
  }

  paint(frame, greys, zoom) {
    const levels = this.frames[frame];
    for (let at = 0; at < levels.length; at += 1) this.greys[at] = greys[levels[at]];
    this.context.putImageData(this.pixels, 0, 0);
    const density = window.devicePixelRatio || 1;
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight].map((side) => Math.max(Math.round(side * density), 1));
    if (this.canvas.width !== width || this.canvas.height !== height) [this.canvas.width, this.canvas.height] = [width, height];
    const to = this.canvas.getContext("2d");
    const scale = this.scale(zoom) * density;
    to.setTransform(1, 0, 0, 1, 0, 0);
    to.clearRect(0, 0, width, height);
    to.setTransform(scale, 0, 0, scale, width / 2 - zoom.x * this.facts.width * scale, height / 2 - zoom.y * this.facts.height * scale);
    to.imageSmoothingQuality = "high";
    to.drawImage(this.image, 0, 0);
  }

  /** Page pixels for a pixel of the picture. */
  scale(zoom) {
    return zoom.factor * Math.min(this.canvas.clientWidth / this.facts.width, this.canvas.clientHeight / this.facts.height);
  }

  /** Where in the picture a point of the page lies, as shares. */
  shares(event, zoom) {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.scale(zoom);
    return [
      zoom.x + (event.clientX - box.left - box.width / 2) / scale / this.facts.width,
      zoom.y + (event.clientY - box.top - box.height / 2) / scale / this.facts.height,
    ];
  }
}

/** The panels of one case. changed() is called whenever what is shown changes. */
class Viewer {
  constructor(holder, changed) {
    this.holder = holder;
    this.changed = changed;
    this.panels = [];
    this.speed = 1;
    this.shownCase = 0;
    new ResizeObserver(() => this.paint()).observe(holder);
  }

  /** Show a case, its pictures in this order; false if another was asked for meanwhile. progress: share of it unpacked. */
  async show(facts, codes, progress) {
    const asked = (this.shownCase += 1);
    this.pause();
    this.panels = [];
    this.holder.replaceChildren();
    const lines = codes.map((code) => document.getElementById(code).textContent.split("\n"));
    const unpacked = codes.map(() => []);
    for (let frame = 0; frame < facts.frames; frame += 1) {
      for (const index of codes.keys()) {
        unpacked[index].push(await unpackFrame(lines[index][frame], facts.width * facts.height));
        if (asked !== this.shownCase) return false;
      }
      progress((frame + 1) / facts.frames);
    }
    this.facts = facts;
    this.window = new GreyWindow(facts);
    this.zoom = new Zoom();
    this.frame = 0;
    this.panels = codes.map((_, index) => new Panel("ABCDEF"[index], facts, unpacked[index]));
    this.holder.replaceChildren(...this.panels.map((panel) => panel.element));
    for (const panel of this.panels) this.listen(panel);
    this.paint();
    return true;
  }

  listen(panel) {
    panel.canvas.addEventListener("pointerdown", (event) => {
      panel.canvas.setPointerCapture(event.pointerId);
      this.dragging = event.shiftKey || event.button === 2 ? "move" : "window";
    });
    panel.canvas.addEventListener("pointerup", () => (this.dragging = undefined));
    panel.canvas.addEventListener("pointercancel", () => (this.dragging = undefined));
    panel.canvas.addEventListener("pointermove", (event) => {
      if (this.dragging === "window") {
        this.window.drag(event.movementX / panel.canvas.clientWidth, event.movementY / panel.canvas.clientHeight);
      } else if (this.dragging === "move") {
        const scale = panel.scale(this.zoom);
        this.zoom.move(event.movementX / scale / this.facts.width, event.movementY / scale / this.facts.height);
      } else return;
      this.paint();
    });
    panel.canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    panel.canvas.addEventListener("dblclick", () => this.fit());
    panel.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom.by(2 ** (-event.deltaY / 400), ...panel.shares(event, this.zoom));
      this.paint();
    }, { passive: false });
  }

  paint() {
    if (!this.panels.length) return;
    const greys = this.window.greys();
    for (const panel of this.panels) panel.paint(this.frame, greys, this.zoom);
    this.changed();
  }

  choose(name) {
    this.window.choose(name);
    this.paint();
  }

  invert() {
    this.window.inverted = !this.window.inverted;
    this.paint();
  }

  fit() {
    this.zoom.fit();
    this.paint();
  }

  zoomBy(factor) {
    this.zoom.by(factor);
    this.paint();
  }

  goTo(frame) {
    this.pause();
    this.frame = (frame + this.facts.frames) % this.facts.frames;
    this.paint();
  }

  get playing() {
    return this.clock !== undefined;
  }

  pause() {
    if (this.playing) cancelAnimationFrame(this.clock);
    this.clock = undefined;
  }

  toggle() {
    if (this.playing) this.pause();
    else if (this.facts.frames > 1) this.play();
    this.changed();
  }

  play() {
    let [before, behind] = [undefined, 0];
    const tick = (now) => {
      behind += before === undefined ? 0 : ((now - before) / 1000) * this.speed / Math.max(this.facts.frame_time_s, 1 / 60);
      before = now;
      const steps = Math.floor(behind);
      behind -= steps;
      this.clock = requestAnimationFrame(tick);
      if (!steps) return;
      this.frame = (this.frame + steps) % this.facts.frames;
      this.paint();
    };
    this.clock = requestAnimationFrame(tick);
  }
}
