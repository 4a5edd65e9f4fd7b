// The page: asks the server by name, shows what it answers. `element` and `server` come from gradio.
const root = element.querySelector('.studio');
const at = name => root.querySelector(`[data-at="${name}"]`);
const act = name => root.querySelector(`[data-do="${name}"]`);
const LIMIT = 5;

let token = null, network = null, state = null, status = null, picker = null;
let original = '', edited = '', heat = '', showing = 'edited';
let strengths = new Map();  // "region/index" -> value
let dragging = false, asked = null, rendering = false, stale = new Set(), shownFindings = '';

// What takes longer than a moment is seen to be under way.
const slow = new Set(['open', 'seed', 'upload', 'space', 'keep', 'heat', 'undo', 'render', 'download']);
let pending = 0;

async function ask(action, values = {}) {
  let answer;
  if (slow.has(action)) at('stage').classList.toggle('busy', ++pending > 0);
  try {
    answer = await server.call({action, token, ...values});
  } catch (error) {
    answer = {error: 'the studio does not answer: is it still running?'};
  }
  if (slow.has(action)) at('stage').classList.toggle('busy', --pending > 0);
  if (answer.error) {
    if (answer.ended) ended(answer.error);
    throw new Error(answer.error);
  }
  return answer;
}

// Runs what a control does; what goes wrong is a readable message on the page.
async function attempt(work) {
  try {
    notice('');
    return await work();
  } catch (error) {
    notice(error.message);
  }
}

function notice(text) {
  at('notice').hidden = !text;
  at('notice-text').textContent = text && text[0].toUpperCase() + text.slice(1);
}

function say(text) {
  at('spoken').textContent = text;
}

function ended(text) {
  token = null;
  root.dataset.ready = 'ended';
  notice(text);
}

// Pictures

function show() {
  const source = {original, edited, heat}[showing] || edited;
  if (at('picture').src !== source) at('picture').src = source;
  at('picture').alt = `${state.sample.name}, ${{original: 'unedited', heat: 'heat map of the change'}[showing] || describe()}`;
  at('stage').classList.toggle('heat', showing === 'heat');
  at('badge').hidden = showing !== 'original';
  picker.visible = showing !== 'heat' && at('outline').checked && showing !== 'original';
}

function describe() {
  const moved = [...strengths].filter(([, value]) => value);
  return moved.length ? moved.map(([key, value]) => `${label(key)} at ${value.toFixed(1)}`).join(', ') : 'unedited';
}

function label(key) {
  const [name, index] = key.split('/');
  return `${name} ${Number(index) + 1}`;
}

function endHeat() {
  if (showing === 'heat') showing = 'edited';
  act('heat').setAttribute('aria-pressed', 'false');
  at('figures').textContent = '';
}

function list() {
  return [...strengths].filter(([, value]) => value).map(([key, value]) => {
    const [name, index] = key.split('/');
    return [name, Number(index), value];
  });
}

// One request at a time, always for the newest positions; the last one, on release, is for the full picture.
async function render(full) {
  asked = full ? 'full' : asked || 'preview';
  if (rendering) return;
  rendering = true;
  while (asked) {
    const wanted = asked === 'full';
    asked = null;
    try {
      take(await ask('render', {strengths: list(), full: wanted}), wanted);
    } catch (error) {
      notice(error.message);
    }
  }
  rendering = false;
}

function take(answer, adopt = true) {
  if (answer.network) {
    network = answer.network;
    token = answer.token;
  }
  if (answer.note) notice(answer.note);
  if (answer.original) original = answer.original;
  if (answer.picture) edited = answer.picture;
  if (answer.state) {
    const moved = state && answer.state.sample.name !== state.sample.name;
    state = answer.state;
    if (adopt && !dragging && !asked) strengths = new Map(state.strengths.map(([name, index, value]) => [`${name}/${index}`, value]));
    if (moved) endHeat();
    showState();
  }
  if (answer.status) {
    status = answer.status;
    showStatus();
  }
  show();
}

// The state in words and controls

function showState() {
  at('seed').value = state.sample.seed ?? '';
  at('trunc').value = state.sample.trunc;
  at('label').value = state.sample.label;
  at('sample-note').textContent = state.sample.note ? `From your file: ${state.sample.note}.` : '';
  at('space').value = state.space;
  at('keep').checked = state.keep;
  if (document.activeElement !== at('layers')) at('layers').value = state.layers === null ? '' : state.layers.join(',');
  act('undo').disabled = !state.undo;
  for (const [name, region] of picker.regions) {
    const known = state.regions.find(other => other.name === name);
    if (!known && !region.empty && !stale.has(name)) picker.remove(name);
  }
  showRegions();
  showDirections();
}

async function adoptMasks() {
  for (const name of [...picker.regions.keys()]) picker.remove(name);
  for (const region of state.regions) {
    picker.add(region.name, region.protect);
    await picker.setUrl(region.name, region.mask);
  }
  if (!picker.regions.size) picker.add('region1', false);
  showRegions();
  showDirections();
}

function showRegions() {
  const chips = [...picker.regions].map(([name, region]) => {
    const chip = document.createElement('span');
    chip.className = `chip ${region.protect ? 'protect' : ''}`;
    const choose = button(region.protect ? `${name} (stays)` : name, () => { picker.active = name; showRegions(); showDirections(); });
    choose.setAttribute('aria-pressed', String(name === picker.active));
    const remove = button('\u00d7', () => attempt(() => drop(name)));
    remove.setAttribute('aria-label', `Remove region ${name}`);
    chip.append(choose, remove);
    return chip;
  });
  const more = button('+ New region', () => { fresh(); say('New region: draw it on the picture'); });
  more.className = 'more';
  at('chips').replaceChildren(...chips, more);
  const region = picker.regions.get(picker.active);
  if (document.activeElement !== at('name')) at('name').value = picker.active ?? '';
  at('kind').value = region && region.protect ? 'protect' : 'change';
  const ready = region && !region.empty && !region.protect;
  act('factorize').disabled = !ready;
  act('factorize').textContent = region && ready ? `Find directions of ${picker.active}` : 'Find directions';
  at('hint').textContent = !region || region.empty ? 'Drag a box on the picture, or choose a preset. Shift adds a second box.'
    : region.protect ? 'These pixels are kept. Mark a region that may change, and find its directions.'
    : state.findings[picker.active] ? '' : hintReady();
}

function hintReady() {
  if (!status || status.ready) return '';
  return status.direct ? 'This space is too large to prepare: each region is searched by itself, which takes a while.'
    : 'The sample is still being prepared. You can go ahead: first directions come sooner.';
}

function button(text, press) {
  const made = document.createElement('button');
  made.type = 'button';
  made.textContent = text;
  made.addEventListener('click', press);
  return made;
}

function showDirections() {
  const name = picker.active, finding = name === null ? undefined : state.findings[name];
  at('directions-title').textContent = finding ? `Directions of ${name}` : 'Directions';
  at('directions-note').textContent = !finding ? 'Sliders appear here when directions are found.'
    : (finding.elsewhere ? `Found on ${finding.elsewhere}, tried here. ` : '') + (finding.quick ? 'Found by a quick search. ' : '')
      + (finding.stale ? 'The protected regions have changed since: find them again. ' : '')
      + 'Change at strength 1, in grey levels of 255'
      + (finding.measured < finding.levels.length ? '; \u2248 is predicted and being measured.' : '.');
  const key = JSON.stringify([name, finding && finding.levels.length]);
  if (key !== shownFindings) {
    shownFindings = key;
    at('directions').replaceChildren(...(finding ? finding.levels.map((_, index) => row(name, index)) : []));
  }
  if (finding) finding.levels.forEach((levels, index) => fill(name, finding, levels, index));
  picker.filled = !finding;
}

function row(name, index) {
  const item = document.createElement('li'), key = `${name}/${index}`;
  item.innerHTML = '<button type="button" class="end low"><img alt=""></button><div class="middle"><div class="line"><span class="number"></span>'
    + '<span class="change"></span><input type="number" step="0.1"></div><input type="range" step="0.05"></div>'
    + '<button type="button" class="end high"><img alt=""></button>';
  const slider = item.querySelector('[type=range]'), field = item.querySelector('[type=number]');
  item.querySelector('.number').textContent = index + 1;
  slider.min = -LIMIT;
  slider.max = LIMIT;
  field.min = -20;
  field.max = 20;
  slider.setAttribute('aria-label', `Strength of direction ${index + 1} of ${name}`);
  field.setAttribute('aria-label', `Strength of direction ${index + 1} of ${name}, as a number`);
  const set = (value, full) => {
    strengths.set(key, value);
    if (document.activeElement !== field) field.value = value.toFixed(2).replace(/\.?0+$/, '');
    slider.value = value;
    endHeat();
    dragging = !full;
    render(full);
  };
  slider.addEventListener('input', () => set(Number(slider.value), false));
  // A slider that is dragged back to where it was fires no change.
  for (const event of ['change', 'pointerup', 'pointercancel']) slider.addEventListener(event, () => { if (dragging) set(Number(slider.value), true); });
  slider.addEventListener('dblclick', () => set(0, true));
  field.addEventListener('change', () => set(Math.min(20, Math.max(-20, Number(field.value) || 0)), true));
  item.querySelector('.low').addEventListener('click', () => set(-network.end, true));
  item.querySelector('.high').addEventListener('click', () => set(network.end, true));
  return item;
}

function fill(name, finding, levels, index) {
  const item = at('directions').children[index], value = strengths.get(`${name}/${index}`) || 0;
  const [inside, outside] = levels.map(level => level < 10 ? level.toFixed(1) : level.toFixed(0));
  item.querySelector('.change').textContent = `region ${inside}, rest ${outside}`;
  item.classList.toggle('predicted', index >= finding.measured);
  const slider = item.querySelector('[type=range]'), field = item.querySelector('[type=number]');
  if (!dragging && document.activeElement !== field) {
    slider.value = value;
    field.value = Number(value.toFixed(2));
  }
  ['low', 'high'].forEach((end, side) => {
    const press = item.querySelector(`.${end}`), image = press.querySelector('img'), strength = `${side ? '+' : '\u2212'}${network.end}`;
    const pair = finding.ends[index];
    press.disabled = !pair;
    press.title = `Direction ${index + 1} at strength ${strength}`;
    press.setAttribute('aria-label', `Set direction ${index + 1} to strength ${strength}`);
    if (pair && image.getAttribute('src') !== pair[side]) image.src = pair[side];
  });
}

// What is under way

function duration(seconds) {
  if (seconds < 1.5) return 'a moment';
  if (seconds < 90) return `about ${Math.round(seconds)} s`;
  return `about ${Math.round(seconds / 60)} min`;
}

function showStatus() {
  for (const text of status.messages) notice(text);
  const rows = status.jobs.map(job => {
    const item = document.createElement('div');
    item.className = 'job';
    const text = document.createElement('span'), bar = document.createElement('progress');
    bar.max = job.total || 1;
    if (job.state === 'running' && job.total) bar.value = job.done;
    bar.setAttribute('aria-label', job.title);
    text.textContent = job.title + (job.state === 'queued' ? `: waits for ${job.ahead} ${job.ahead === 1 ? 'job' : 'jobs'}`
      : job.remaining === null ? '' : `: ${duration(job.remaining)} left`);
    const cancel = button('Cancel', () => attempt(async () => take(await ask('cancel', {number: job.number}))));
    cancel.className = 'plain';
    cancel.setAttribute('aria-label', `Cancel: ${job.title}`);
    item.append(text, bar, cancel);
    return item;
  });
  const focused = at('jobs').contains(document.activeElement);
  if (!focused || !status.jobs.length) at('jobs').replaceChildren(...rows);
  if (!status.ready && !status.direct && !status.jobs.some(job => job.title.startsWith('Preparing'))) {
    const again = button('Prepare this sample', () => attempt(async () => take(await ask('prepare'))));
    again.className = 'plain';
    at('jobs').append(again);
  }
  if (status.waiting.length) {
    at('hint').textContent = status.waiting.every(name => state.findings[name]) ? 'These are first directions; better ones come when the sample is prepared.'
      : `Directions of ${status.waiting.join(', ')} are on their way.`;
  }
  root.dataset.ready = status.ready || status.direct ? 'yes' : 'no';
}

async function poll() {
  let pause = 4000;
  if (token !== null) {
    try {
      take(await ask('status', {version: state.version}));
      if (status.jobs.length || status.waiting.length) pause = document.hidden ? 2000 : 350;
    } catch (error) {
      if (token !== null) notice(error.message);
    }
  }
  setTimeout(poll, pause);
}

// Regions

function freeName(stem) {
  if (!picker.regions.has(stem)) return stem;
  let number = 2;
  while (picker.regions.has(`${stem}${number}`)) number++;
  return `${stem}${number}`;
}

function fresh(stem) {
  let number = 1;
  while (!stem && picker.regions.has(`region${number}`)) number++;
  picker.add(stem ? freeName(stem) : `region${number}`, false);
  showRegions();
  showDirections();
}

async function send(name) {
  const region = picker.regions.get(name);
  stale.add(name);
  try {
    take(region.empty ? await ask('remove', {name}) : await ask('region', {name, mask: picker.url(name), protect: region.protect}));
  } finally {
    stale.delete(name);
  }
}

async function drop(name) {
  const known = state.regions.some(region => region.name === name);
  picker.remove(name);
  for (const key of [...strengths.keys()]) if (key.startsWith(`${name}/`)) strengths.delete(key);
  if (!picker.regions.size) picker.add('region1', false);
  if (known) take(await ask('remove', {name}));
  showRegions();
  showDirections();
}

async function factorize() {
  const name = picker.active;
  if (act('factorize').disabled) return;
  endHeat();
  await send(name);
  take(await ask('factorize', {name}));
  say(state.findings[name] ? `Directions of ${name} are there` : `Directions of ${name} are on their way`);
  poke();
}

let poking = false;
async function poke() {  // quicker than the next poll while an answer is due
  if (poking) return;
  poking = true;
  for (let i = 0; i < 20 && status && status.jobs.length; i++) {
    await new Promise(resolve => setTimeout(resolve, 150));
    try { take(await ask('status', {version: state.version})); } catch (error) { break; }
  }
  poking = false;
}

function drawn(name) {
  attempt(() => send(name));
}

// The sample

function sampleValues() {
  if (at('trunc').value === '') throw new Error('enter a truncation: 1 for none, 0.7 for typical samples');
  const cutoff = at('cutoff').value;
  return {trunc: Number(at('trunc').value), cutoff: cutoff === '' ? null : Number(cutoff), label: at('label').value};
}

async function showSeed(seed) {
  at('seed').value = seed;
  take(await ask('seed', {seed, ...sampleValues()}));
  say(`${state.sample.name} is shown`);
}

function parsedLayers(text) {
  if (!text.trim() || text.trim() === 'all') return null;
  return text.split(',').flatMap(part => {
    const match = /^\s*(\d+)\s*(?:-\s*(\d+)\s*)?$/.exec(part);
    if (!match) throw new Error(`'${text}' is not a list of layers: expected numbers and ranges like 0,1,4-6`);
    const first = Number(match[1]), last = Number(match[2] ?? match[1]);
    return Array.from({length: Math.max(0, Math.min(last - first + 1, 1000))}, (_, i) => first + i);
  });
}

function content(file) {
  return new Promise((resolve, reject) => {
    if (file.size > 8 << 20) return reject(new Error(`${file.name} is larger than 8 MB, which no latent and no mask is`));
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(`${file.name} cannot be read`));
    reader.readAsDataURL(file);
  });
}

// Saving

async function save(press) {
  const kind = press.dataset.save, before = press.textContent;
  press.disabled = true;
  press.textContent = 'Saving \u2026';
  try {
    const region = picker.active in state.findings ? picker.active : Object.keys(state.findings)[0] ?? '';
    if (kind === 'directions' && !region) throw new Error('there are no directions yet: find some first');
    const answer = await ask('download', {kind, region});
    const bytes = Uint8Array.from(atob(answer.content), character => character.charCodeAt(0));
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([bytes]));
    link.download = answer.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    say(`${answer.name} is saved`);
  } finally {
    press.disabled = false;
    press.textContent = before;
  }
}

async function copy() {
  const {text} = await ask('commands');
  at('commands').textContent = text || 'Find directions and move a slider first.';
  at('commands').hidden = false;
  if (!text) return;
  try {
    await navigator.clipboard.writeText(text);
    say('The commands are on the clipboard');
    act('copy').textContent = 'Copied';
    setTimeout(() => { act('copy').textContent = 'Copy as command line'; }, 1500);
  } catch (error) {  // no clipboard outside a secure page: the text is there to be selected
    getSelection().selectAllChildren(at('commands'));
  }
}

// Wiring

function hold(on) {
  if (!state || (showing === 'original') === on) return;
  showing = on ? 'original' : heat && act('heat').getAttribute('aria-pressed') === 'true' ? 'heat' : 'edited';
  show();
}

function chooseTool(name) {
  picker.tool = name;
  for (const press of root.querySelectorAll('[data-tool]')) press.setAttribute('aria-pressed', String(press.dataset.tool === name));
  at('size-label').classList.toggle('idle', name === 'box');
}

const deeds = {
  dismiss: () => notice(''),
  clear: async () => { if (picker.active !== null) { picker.clear(picker.active); await send(picker.active); } },
  undo: async () => { take(await ask('undo')); await adoptMasks(); endHeat(); show(); },
  heat: async () => {
    if (showing === 'heat') { endHeat(); return show(); }
    const answer = await ask('heat');
    heat = answer.picture;
    showing = 'heat';
    act('heat').setAttribute('aria-pressed', 'true');
    at('figures').textContent = `Changed: region ${answer.inside.toFixed(1)}, rest ${answer.outside.toFixed(1)} grey levels`;
    show();
  },
  previous: () => showSeed(Math.max(0, Number(at('seed').value) - 1)),
  next: () => showSeed(Number(at('seed').value) + 1),
  random: () => showSeed(Math.floor(Math.random() * 100000)),
  space: async () => take(await ask('space', {space: at('space').value, layers: parsedLayers(at('layers').value)})),
  box: async () => {
    const box = [...root.querySelectorAll('[data-box]')].map(field => Math.round(Number(field.value)));
    if (box[2] < 1 || box[3] < 1) throw new Error('a box needs a width and a height of at least 1 pixel');
    if (picker.active === null) fresh();
    picker.setBox(picker.active, box, false);
    await send(picker.active);
  },
  factorize,
  zero: async () => { strengths.clear(); endHeat(); showDirections(); await render(true); },
  copy,
};

function wire() {
  for (const [name, deed] of Object.entries(deeds)) act(name).addEventListener('click', () => attempt(deed));
  for (const press of root.querySelectorAll('[data-tool]')) press.addEventListener('click', () => chooseTool(press.dataset.tool));
  for (const press of root.querySelectorAll('[data-save]')) press.addEventListener('click', () => attempt(() => save(press)));
  const held = act('hold');
  for (const [event, on] of [['pointerdown', true], ['pointerup', false], ['pointerleave', false], ['pointercancel', false]]) {
    held.addEventListener(event, () => hold(on));
  }
  held.addEventListener('keydown', event => { if (event.key === ' ' || event.key === 'Enter') { event.preventDefault(); hold(true); } });
  held.addEventListener('keyup', () => hold(false));
  held.addEventListener('blur', () => hold(false));
  held.addEventListener('contextmenu', event => event.preventDefault());
  at('size').addEventListener('input', () => { picker.radius = at('size').value / 200; });
  at('outline').addEventListener('change', show);
  at('keep').addEventListener('change', () => attempt(async () => { endHeat(); take(await ask('keep', {keep: at('keep').checked})); }));
  at('sample-form').addEventListener('submit', event => { event.preventDefault(); attempt(() => showSeed(Number(at('seed').value))); });
  at('name').addEventListener('change', () => attempt(async () => {
    const name = at('name').value.trim(), before = picker.active;
    if (before === null || name === before) return;
    if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/.test(name)) throw new Error('a region is named with letters, digits, _ and -');
    if (picker.regions.has(name)) throw new Error(`there is a region ${name} already`);
    const known = state.regions.some(region => region.name === before);
    picker.rename(before, name);
    if (known) {
      stale.add(name);
      await ask('remove', {name: before});
      await send(name);
      await render(true);
    }
    showRegions();
  }));
  at('kind').addEventListener('change', () => attempt(async () => {
    const region = picker.regions.get(picker.active);
    if (!region) return;
    region.protect = at('kind').value === 'protect';
    picker.draw();
    showRegions();
    if (!region.empty) await send(picker.active);
  }));
  at('preset').addEventListener('change', () => attempt(async () => {
    const [group, name] = at('preset').value.split('/');
    at('preset').value = '';
    if (!name) return;
    const region = picker.regions.get(picker.active);
    if (region && region.empty && !picker.regions.has(name)) {
      picker.rename(picker.active, name);
    } else fresh(name);
    picker.setBox(picker.active, network.presets[group][name], false);
    await send(picker.active);
    showRegions();
    showDirections();
  }));
  at('latent-file').addEventListener('change', () => attempt(async () => {
    const file = at('latent-file').files[0];
    at('latent-file').value = '';
    if (file) take(await ask('upload', {name: file.name, content: await content(file), number: Number(at('latent-number').value) || 1, ...sampleValues()}));
  }));
  at('mask-file').addEventListener('change', () => attempt(async () => {
    const file = at('mask-file').files[0];
    at('mask-file').value = '';
    if (!file) return;
    const {mask} = await ask('mask_file', {mask: await content(file)});
    const region = picker.regions.get(picker.active);
    if (!region || !region.empty) fresh(file.name.replace(/\.[^.]*$/, '').replace(/[^A-Za-z0-9_-]+/g, '_').replace(/^[_-]+/, '').slice(0, 60) || undefined);
    await picker.setUrl(picker.active, mask);
    await send(picker.active);
  }));
  document.addEventListener('keydown', event => {
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && !/range|checkbox/.test(event.target.type)) return;
    const key = event.key.toLowerCase();
    if ((event.ctrlKey || event.metaKey) && key === 'z') { event.preventDefault(); if (!act('undo').disabled) attempt(deeds.undo); return; }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const tools = {b: 'box', p: 'brush', e: 'eraser'};
    if (tools[key]) chooseTool(tools[key]);
    if (key === 'c') hold(true);
    if (key === 'enter' && event.target === at('overlay')) attempt(factorize);
  });
  document.addEventListener('keyup', event => { if (event.key.toLowerCase() === 'c') hold(false); });
}

async function start() {
  root.dataset.ready = 'opening';
  const answer = await ask('open');
  network = answer.network;
  token = answer.token;
  at('network').textContent = `${network.name}, ${network.width} \u00d7 ${network.height}`;
  at('licence').textContent = network.licence ? `About the weights: ${network.licence}` : '';
  at('stage').style.aspectRatio = `${network.width} / ${network.height}`;
  at('stage').style.setProperty('--aspect', network.width / network.height);
  at('class-field').hidden = network.classes < 2;
  at('space').replaceChildren(...network.spaces.map(space => new Option(space.name)));
  for (const [title, presets] of Object.entries(network.presets)) {
    const group = document.createElement('optgroup');
    group.label = title;
    group.append(...Object.keys(presets).map(name => new Option(name.replaceAll('_', ' '), `${title}/${name}`)));
    at('preset').append(group);
  }
  picker = makePicker(at('overlay'), network.width, network.height, (what, name) => {
    if (what === 'need') fresh();
    else drawn(name);
  });
  chooseTool('box');
  picker.radius = at('size').value / 200;
  picker.add('region1', false);
  wire();
  take(answer);
  await adoptMasks();
  poll();
}

attempt(start);
