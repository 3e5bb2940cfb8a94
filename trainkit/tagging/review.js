"use strict";
// Answers are kept by the number of their question: true or false for a tag, the number of the answer for a
// group (-1: none of them), "unsure" for both. What was answered last is undone first.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { pictures, questions } = data;
  const at = (id) => document.getElementById(id);
  const place = "trainkit-review-" + data.mark;
  let answers = {}, order = [], now = 0, subject = "";

  // What the browser kept of an earlier visit. Some keep nothing for files.
  try {
    const kept = JSON.parse(localStorage.getItem(place) || "{}");
    const fits = (n, a) => {
      const q = questions[n];
      if (!q) return false;
      if (a === "unsure") return true;
      return q.answers.length ? Number.isInteger(a) && a >= -1 && a < q.answers.length : typeof a === "boolean";
    };
    for (const n of Array.isArray(kept.order) ? kept.order : []) {
      if (fits(n, kept.answers[n]) && !(n in answers)) { answers[n] = kept.answers[n]; order.push(n); }
    }
    localStorage.setItem(place, JSON.stringify({ answers, order }));
  } catch { at("unkept").hidden = false; }

  const keep = () => {
    try { localStorage.setItem(place, JSON.stringify({ answers, order })); } catch { at("unkept").hidden = false; }
  };
  const shown = () => [...questions.keys()].filter((n) => !subject || questions[n].subject === subject);
  const make = (tag, text, more) => Object.assign(document.createElement(tag), { textContent: text }, more);
  const word = (q, a) => a === "unsure" ? "unsure" : q.answers.length ? (a < 0 ? "none" : q.answers[a]) : a ? "yes" : "no";

  // The lines of corrections.jsonl.
  const corrections = () => order.flatMap((n) => {
    const q = questions[n], a = answers[n], id = pictures[q.picture].id;
    if (a === "unsure") return [];
    if (!q.answers.length) return [{ id, tag: q.subject, right: a }];
    return q.answers.map((tag, i) => ({ id, tag, right: i === a }));
  });

  const judge = (answer) => {
    order = order.filter((n) => n !== now);
    order.push(now);
    answers[now] = answer;
    keep();
    const list = shown(), from = list.indexOf(now);
    const next = [...list.slice(from + 1), ...list.slice(0, from)].find((n) => !(n in answers));
    if (next !== undefined) now = next;
    draw();
  };
  const undo = () => {
    const last = order.pop();
    if (last === undefined) return;
    delete answers[last];
    keep();
    now = last;
    if (subject && questions[now].subject !== subject) { subject = ""; at("filter").value = ""; }
    draw();
  };
  const move = (by) => {
    const list = shown(), to = list.indexOf(now) + by;
    if (to >= 0 && to < list.length) { now = list[to]; draw(); }
  };

  const choices = (q) => {
    if (!q.answers.length) return [["Yes, it has it", "y", true], ["No", "n", false], ["Unsure", "u", "unsure"]];
    const own = q.answers.map((name, i) => [name, i < 9 ? String(i + 1) : "", i]);
    return [...own, ["none of them", "0", -1], ["unsure", "u", "unsure"]];
  };

  const draw = () => {
    const q = questions[now], p = pictures[q.picture], list = shown();
    const done = list.filter((n) => n in answers).length, lines = corrections().length;
    at("told").textContent = `${done} of ${list.length} judged`;
    at("bar").style.width = `${100 * done / Math.max(1, list.length)}%`;
    at("save").textContent = `Download ${data.file} (${lines})`;
    at("save").disabled = !lines;
    at("end").hidden = done < list.length;
    at("picture").src = p.src;
    at("picture").alt = p.id;
    at("what").replaceChildren(...(q.answers.length ? ["Which ", make("b", q.subject), "?"] : ["Does it have ", make("b", q.subject), "?"]));
    const known = [];
    if (q.said !== null) known.push("Tagger", q.score === null ? q.said : `${q.said} (${q.score.toFixed(3)})`);
    if (q.labelled !== null) known.push("Record", q.labelled);
    known.push("Picture", p.id);
    at("known").replaceChildren(...known.map((text, i) => make(i % 2 ? "dd" : "dt", text)));
    at("answers").replaceChildren(...choices(q).map(([name, key, value]) => {
      const button = make("button", name, { type: "button", onclick: () => judge(value) });
      button.setAttribute("aria-pressed", String(answers[now] === value));
      if (key) button.append(make("kbd", key));
      return button;
    }));
    const hint = (key, does) => [make("kbd", key), ` ${does}   `];
    at("keys").replaceChildren(...hint("z", "undo"), ...hint("←", "back"), ...hint("→", "on, without an answer"));
    at("tags").replaceChildren(...(p.tags.length ? [make("p", "All tags of the record", { className: "quiet" })] : []),
      ...p.tags.map((tag) => make("span", tag, { className: "chip" + (tag === q.subject || q.answers.includes(tag) ? " warn" : "") })),
      ...(p.more ? [make("span", `and ${p.more} more`, { className: "quiet" })] : []));
    mark();
  };

  // The gallery is built when the filter changes; after an answer only its marks change.
  const build = () => at("all").replaceChildren(...shown().map((n) => {
    const q = questions[n], button = make("button", "", { type: "button", onclick: () => { now = n; draw(); scrollTo(0, 0); } });
    button.dataset.n = n;
    button.title = `${q.subject}: ${pictures[q.picture].id}`;
    button.append(Object.assign(new Image(), { src: pictures[q.picture].src, alt: "", loading: "lazy" }), make("span", ""));
    return button;
  }));
  const mark = () => {
    for (const button of at("all").children) {
      const n = Number(button.dataset.n), q = questions[n], a = answers[n];
      button.lastChild.textContent = n in answers ? word(q, a) : q.subject;
      button.dataset.is = !(n in answers) ? "" : a === "unsure" ? "unsure" : a === false || a === -1 ? "no" : "yes";
      button.setAttribute("aria-current", String(n === now));
    }
  };

  const count = new Map();
  for (const q of questions) count.set(q.subject, (count.get(q.subject) || 0) + 1);
  at("filter").append(make("option", `all tags (${questions.length})`, { value: "" }),
    ...[...count].map(([name, n]) => make("option", `${name} (${n})`, { value: name })));
  at("filter").hidden = count.size < 2;
  at("filter").onchange = () => {
    subject = at("filter").value;
    const list = shown();
    now = list.find((n) => !(n in answers)) ?? list[0];
    at("filter").blur();
    build();
    draw();
  };

  at("save").onclick = () => {
    const text = corrections().map((line) => JSON.stringify(line) + "\n").join("");
    const link = make("a", "", { href: URL.createObjectURL(new Blob([text], { type: "application/x-ndjson" })), download: data.file });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  };
  at("load").onchange = async () => {
    const said = new Map();
    for (const line of (await at("load").files[0].text()).split("\n")) {
      try {
        const { id, tag, right } = JSON.parse(line);
        if (typeof right === "boolean") said.set(JSON.stringify([id, tag]), right);
      } catch { /* Not a correction. */ }
    }
    questions.forEach((q, n) => {
      const of = (tag) => said.get(JSON.stringify([pictures[q.picture].id, tag]));
      const words = q.answers.map(of), right = words.indexOf(true);
      const a = !q.answers.length ? of(q.subject) : right >= 0 ? right : words.every((w) => w === false) ? -1 : undefined;
      if (a !== undefined) { if (!(n in answers)) order.push(n); answers[n] = a; }
    });
    at("load").value = "";
    keep();
    draw();
  };

  addEventListener("keydown", (event) => {
    if (event.altKey || event.metaKey || event.target.tagName === "SELECT") return;
    const key = event.key.toLowerCase();
    if (event.ctrlKey) { if (key === "z") { event.preventDefault(); undo(); } return; }
    const choice = choices(questions[now]).find((one) => one[1] && one[1] === key);
    if (choice && !event.repeat) judge(choice[2]);
    else if (key === "z" || key === "backspace") undo();
    else if (key === "arrowleft") move(-1);
    else if (key === "arrowright") move(1);
    else return;
    event.preventDefault();
  });

  if (questions.length) {
    now = [...questions.keys()].find((n) => !(n in answers)) ?? 0;
    build();
    draw();
  }
})();
