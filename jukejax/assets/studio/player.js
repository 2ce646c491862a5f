// <studio-player data-take="URL" data-compare="URL">: plays a take, or two at the same position.
// The URLs are those of view.json (jukejax/studio/views.py). Names get into the page as text only.
// Gradio shows another take by changing the attributes of the element, and removing its content.
class StudioPlayer extends HTMLElement {
  static observedAttributes = ["data-take", "data-compare"];

  connectedCallback() {
    this.open();
    this.content = new MutationObserver(() => {
      if (this.querySelector(".sp-lanes")) return;
      this.close();
      this.openSoon();
    });
    this.content.observe(this, { childList: true });
  }

  disconnectedCallback() {
    this.content.disconnect();
    this.close();
  }

  attributeChangedCallback() { if (this.lanes) this.openSoon(); }

  openSoon() {
    clearTimeout(this.opening);
    this.opening = setTimeout(() => this.open());
  }

  open() {
    this.close();
    this.lanes = [];
    this.heard = 0;
    this.position = 0;
    this.isPlaying = false;
    this.innerHTML = `
      <div class="sp-lanes"></div>
      <div class="sp-controls">
        <button type="button" class="sp-play" aria-label="Play or pause (space)">Play</button>
        <button type="button" class="sp-swap" hidden>Hear B</button>
        <span class="sp-time" role="timer" aria-live="off">0:00.0</span>
        <input class="sp-seek" type="range" min="0" max="1" step="0.01" value="0"
          aria-label="Position in the take">
        <label class="sp-choice"><input type="checkbox" class="sp-repeat"> repeat</label>
        <label class="sp-choice"><input type="checkbox" class="sp-mel"> mel</label>
        <a class="sp-wav" download>WAV</a> <a class="sp-codes" download>codes</a>
      </div>
      <p class="sp-status" role="status"></p>`;
    this.querySelector(".sp-play").onclick = () => this.toggle();
    this.querySelector(".sp-swap").onclick = () => this.hear(1 - this.heard);
    this.querySelector(".sp-seek").oninput = (event) => this.seek(Number(event.target.value));
    for (const name of [".sp-repeat", ".sp-mel"]) {
      const box = this.querySelector(name);
      box.checked = this.checked?.[name] ?? false;
      box.onchange = () => {
        this.checked = { ...this.checked, [name]: box.checked };
        this.lanes.forEach((lane) => this.draw(lane));
      };
    }
    for (const url of [this.dataset.take, this.dataset.compare]) if (url) this.addLane(url);
    this.querySelector(".sp-swap").hidden = this.lanes.length < 2;
    this.refresh();
    this.timer = setInterval(() => this.refresh(), 1500);
    this.tick();
    this.observer = new ResizeObserver(() => this.lanes.forEach((lane) => this.draw(lane)));
    this.observer.observe(this);
  }

  close() {
    clearTimeout(this.opening);
    clearInterval(this.timer);
    cancelAnimationFrame(this.frame);
    this.observer?.disconnect();
    this.lanes?.forEach((lane) => lane.audio.pause());
  }

  addLane(url) {
    const box = document.createElement("div");
    box.className = "sp-lane";
    const name = document.createElement("p");
    name.className = "sp-name";
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    box.append(name, canvas);
    this.querySelector(".sp-lanes").append(box);
    const audio = new Audio();
    audio.preload = "auto";
    const lane = { url, box, name, canvas, audio, view: null, mel: null, source: "" };
    audio.onended = () => this.end(lane);
    canvas.onpointerdown = (event) => this.startSelection(lane, event);
    this.lanes.push(lane);
  }

  async refresh() {
    this.refreshes = (this.refreshes ?? -1) + 1;
    for (const lane of this.lanes) {
      if (lane.view && !lane.view.is_active && this.refreshes % 6) continue;
      try {
        const response = await fetch(lane.url, { cache: "no-store" });
        if (response.status !== 200) continue; // 204: the take is in the trash
        this.update(lane, await response.json());
      } catch { /* the server is away: the next refresh asks again */ }
    }
  }

  update(lane, view) {
    lane.view = view;
    const letter = this.lanes.length > 1 ? `${"AB"[this.lanes.indexOf(lane)]}: ` : "";
    lane.name.textContent = letter + view.name;
    lane.canvas.setAttribute("aria-label", `Waveform of ${view.name}`);
    const isShown = lane === this.lanes[this.heard];
    if (view.source && view.source !== lane.source) {
      // A file that grows is loaded again shortly before its end, as loading interrupts playback.
      const remaining = lane.audio.duration - lane.audio.currentTime;
      if (!this.isPlaying || !lane.source || lane.waits || !(remaining > 2)) this.load(lane);
    }
    if (this.isPlaying && isShown && !view.source && !view.is_active) this.pause();
    if (view.mel && view.mel !== lane.melSource) {
      lane.melSource = view.mel;
      lane.mel = new Image();
      lane.mel.onload = () => this.draw(lane);
      lane.mel.src = view.mel;
    }
    if (isShown) this.showLinks(view);
    this.draw(lane);
  }

  load(lane) {
    const position = lane.audio.currentTime || this.position;
    lane.waits = false;
    lane.source = lane.view.source;
    lane.audio.src = lane.source;
    lane.audio.currentTime = position;
    lane.audio.muted = lane !== this.lanes[this.heard];
    if (this.isPlaying) lane.audio.play().catch(() => this.pause());
  }

  showLinks(view) {
    this.querySelector(".sp-seek").max = view.seconds || 1;
    this.querySelector(".sp-status").textContent = view.status;
    for (const [name, link] of [[".sp-wav", view.download], [".sp-codes", view.codes]]) {
      const element = this.querySelector(name);
      element.hidden = !link;
      if (link) element.href = link;
    }
  }

  toggle() { if (this.isPlaying) this.pause(); else this.play(); }

  play() {
    const heard = this.lanes[this.heard];
    if (!heard?.source && heard?.view?.is_active === false) return; // else the first sound starts it
    document.querySelectorAll("studio-player").forEach((other) => other !== this && other.pause());
    if (heard.view && this.position >= heard.view.seconds - 0.05) this.seek(0);
    this.isPlaying = true;
    this.querySelector(".sp-play").textContent = "Pause";
    this.lanes.forEach((lane, index) => {
      if (!lane.source) return;
      lane.audio.currentTime = this.position;
      lane.audio.muted = index !== this.heard;
      lane.audio.play().catch(() => index === this.heard && this.pause());
    });
  }

  pause() {
    this.isPlaying = false;
    this.querySelector(".sp-play").textContent = "Play";
    this.lanes.forEach((lane) => lane.audio.pause());
  }

  end(lane) {
    if (lane.view?.is_active) { lane.waits = true; return; } // more of it is being drawn
    if (lane !== this.lanes[this.heard]) return;
    if (this.querySelector(".sp-repeat").checked) { this.seek(0); this.play(); return; }
    this.pause();
  }

  hear(index) {
    this.heard = index;
    this.lanes.forEach((lane, number) => { lane.audio.muted = number !== index; });
    this.lanes[index].audio.currentTime = this.position;
    this.querySelector(".sp-swap").textContent = `Hear ${"BA"[index]}`;
    if (this.lanes[index].view) this.showLinks(this.lanes[index].view);
    this.lanes.forEach((lane) => this.draw(lane));
  }

  seek(seconds) {
    this.position = seconds;
    this.lanes.forEach((lane) => { if (lane.source) lane.audio.currentTime = seconds; });
  }

  tick() {
    const lane = this.lanes[this.heard];
    if (this.isPlaying && lane) {
      this.position = lane.audio.currentTime;
      this.querySelector(".sp-seek").value = this.position;
    }
    const minutes = Math.floor(this.position / 60);
    const text = `${minutes}:${(this.position - 60 * minutes).toFixed(1).padStart(4, "0")}`;
    const time = this.querySelector(".sp-time");
    const bar = lane?.view && this.barAt(lane.view, this.position);
    const label = bar ? `${text} · bar ${bar}` : text;
    if (time.textContent !== label) {
      time.textContent = label;
      this.lanes.forEach((each) => this.draw(each));
    }
    this.frame = requestAnimationFrame(() => this.tick());
  }

  barAt(view, seconds) {
    let number = 0;
    view.bars.forEach((start, index) => { if (start <= seconds + 1e-3) number = index + 1; });
    return Math.min(number, view.num_bars);
  }

  startSelection(lane, event) {
    if (!lane.view) return;
    const at = (e) => {
      const box = lane.canvas.getBoundingClientRect();
      const share = Math.min(Math.max((e.clientX - box.left) / box.width, 0), 1);
      return share * lane.view.length;
    };
    const start = at(event);
    this.seek(Math.min(start, lane.view.seconds));
    lane.canvas.setPointerCapture(event.pointerId);
    lane.canvas.onpointermove = (move) => {
      const stop = at(move);
      if (Math.abs(stop - start) < 0.02 * lane.view.length || !lane.view.num_bars) return;
      const bars = [Math.min(start, stop), Math.max(start, stop)].map((s) => this.barAt(lane.view, s));
      this.select(Math.max(bars[0], 1), Math.max(bars[1], 1));
    };
    lane.canvas.onpointerup = () => { lane.canvas.onpointermove = null; };
  }

  select(first, last) {
    this.selection = [first, last];
    for (const [name, value] of [["range-first", first], ["range-last", last]]) {
      const input = document.querySelector(`#${name} input`);
      if (!input || input.value === String(value)) continue;
      input.value = value;
      input.dispatchEvent(new Event("input", { bubbles: true }));
      input.dispatchEvent(new Event("change", { bubbles: true }));
    }
    this.lanes.forEach((lane) => this.draw(lane));
  }

  draw(lane) {
    const { canvas, view } = lane;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width || !view) return;
    const scale = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
    if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
    const context = canvas.getContext("2d");
    const style = getComputedStyle(this);
    const color = (name) => style.getPropertyValue(name).trim();
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const x = (seconds) => (seconds / (view.length || 1)) * width;
    if (this.querySelector(".sp-mel").checked && lane.mel?.complete && lane.mel.naturalWidth) {
      context.drawImage(lane.mel, 0, 0, x(view.seconds), height);
    } else {
      context.fillStyle = color(lane === this.lanes[this.heard] ? "--sp-wave" : "--sp-quiet");
      const step = x(view.seconds) / Math.max(view.peaks.length, 1);
      view.peaks.forEach(([low, high], index) => {
        const top = (1 - high) * height / 2, bottom = (1 - low) * height / 2;
        context.fillRect(index * step, top, Math.max(step, 0.8), Math.max(bottom - top, 1));
      });
    }
    if (this.selection && view.num_bars) {
      const [first, last] = this.selection;
      const bar = view.bars.length > 1 ? view.bars[1] - view.bars[0] : view.length;
      const begin = view.bars[first - 1] ?? 0;
      context.fillStyle = color("--sp-select");
      context.fillRect(x(begin), 0, x((view.bars[last - 1] ?? begin) + bar) - x(begin), height);
    }
    context.fillStyle = color("--sp-bar");
    context.font = "11px system-ui, sans-serif";
    const every = view.bars.length > 1 ? Math.ceil(34 / Math.max(x(view.bars[1] - view.bars[0]), 1)) : 1;
    view.bars.forEach((start, index) => {
      context.fillRect(x(start), 0, 1, height);
      if (index < view.num_bars && index % every === 0) context.fillText(index + 1, x(start) + 3, 11);
    });
    context.fillStyle = color("--sp-head");
    context.fillRect(x(this.position), 0, 2, height);
  }
}
if (!customElements.get("studio-player")) customElements.define("studio-player", StudioPlayer);
// Space plays and pauses, but where it types or presses a button.
document.addEventListener("keydown", (event) => {
  const busy = event.target.closest?.("input, textarea, button, select, a, [role=listbox], [role=tab]");
  const player = document.querySelector("studio-player");
  if (event.code === "Space" && !busy && player) { event.preventDefault(); player.toggle(); }
});
