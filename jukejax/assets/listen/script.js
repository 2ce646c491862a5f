// The listening test of a page. TEST, from the page: {id, mode, trials: [[id of a sound, ...], ...]}.
const byId = (id) => document.getElementById(id);
const players = [...document.querySelectorAll("#trial audio")];
const choices = [...document.querySelectorAll("#trial input[name=choice]")];
const storageName = "jukejax-listen-" + TEST.id;
let answers = TEST.trials.map(() => null); // index of the choice
let trial = 0;
let played = new Set();

function store() {
  try {
    localStorage.setItem(storageName, JSON.stringify({ answers, listener: byId("listener").value }));
  } catch {} // pages from disk may have no storage: answers then live as long as the page
}

function restore() {
  try {
    const stored = JSON.parse(localStorage.getItem(storageName));
    if (stored.answers.length === answers.length) {
      answers = stored.answers;
      byId("listener").value = stored.listener;
    }
  } catch {} // nothing is stored, or it is damaged
}

function showTrial(number) {
  trial = number;
  players.forEach((player) => player.pause());
  const isEnd = trial >= TEST.trials.length;
  byId("trial").hidden = isEnd;
  byId("end").hidden = !isEnd;
  byId("progress").value = trial;
  if (isEnd) {
    byId("count").textContent = "All questions are answered.";
    showAnswers();
    byId("end-title").focus();
    return;
  }
  byId("count").textContent = `Question ${trial + 1} of ${TEST.trials.length}`;
  players.forEach((player, index) => (player.src = `sounds/${TEST.trials[trial][index]}.flac`));
  played = new Set(answers[trial] === null ? [] : players);
  choices.forEach((choice, index) => (choice.checked = answers[trial] === index));
  byId("back").disabled = trial === 0;
  updateChoices();
}

function updateChoices() {
  const isHeard = played.size === players.length;
  choices.forEach((choice) => (choice.disabled = !isHeard));
  byId("hint").hidden = isHeard;
  byId("next").disabled = answers[trial] === null;
}

function choose(index) {
  if (!choices[index] || choices[index].disabled) return;
  answers[trial] = index;
  choices[index].checked = true;
  updateChoices();
  store();
}

function formatAnswers() {
  const list = answers.map((index, number) =>
    TEST.mode === "ab"
      ? { trial: number, choice: TEST.trials[number][index] }
      : { trial: number, rating: index + 1 },
  );
  const content = { test: TEST.id, listener: byId("listener").value.trim(), answers: list };
  return JSON.stringify(content, null, 1) + "\n";
}

function showAnswers() {
  byId("json").value = formatAnswers();
}

function saveAnswers() {
  const words = byId("listener").value.trim().replace(/[^\p{L}\p{N}]+/gu, "_").slice(0, 40);
  const anchor = document.createElement("a");
  anchor.href = URL.createObjectURL(new Blob([formatAnswers()], { type: "application/json" }));
  anchor.download = ["answers", TEST.id, words].filter(Boolean).join("_") + ".json";
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 10000);
}

function restart() {
  answers = TEST.trials.map(() => null);
  byId("listener").value = "";
  store();
  showTrial(0);
}

players.forEach((player) => {
  player.addEventListener("playing", () => {
    played.add(player);
    updateChoices();
  });
  player.addEventListener("error", () => (byId("error").hidden = false));
});
choices.forEach((choice, index) => choice.addEventListener("change", () => choose(index)));
byId("trial").addEventListener("submit", (event) => {
  event.preventDefault();
  if (answers[trial] !== null) showTrial(trial + 1);
});
byId("back").addEventListener("click", () => showTrial(trial - 1));
byId("end-back").addEventListener("click", () => showTrial(TEST.trials.length - 1));
byId("save").addEventListener("click", saveAnswers);
byId("restart").addEventListener("click", restart);
byId("listener").addEventListener("input", () => {
  store();
  showAnswers();
});

// Keys: a and b play or pause, 1 to 5 choose, Enter goes on.
addEventListener("keydown", (event) => {
  const isText = event.target.matches("input:not([type=radio]), textarea");
  if (isText || event.ctrlKey || event.metaKey || event.altKey || byId("trial").hidden) return;
  const player = players[["a", "b"].indexOf(event.key?.toLowerCase())];
  if (player) player.paused ? player.play() : player.pause();
  if (/^[1-5]$/.test(event.key)) choose(Number(event.key) - 1);
  if (event.key === "Enter" && !event.target.matches("button")) {
    event.preventDefault();
    byId("trial").requestSubmit();
  }
});

restore();
const firstOpen = answers.indexOf(null);
showTrial(firstOpen < 0 ? answers.length : firstOpen);
