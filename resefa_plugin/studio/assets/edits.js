// Edits by name: sliders that an atlas has for the whole network, grouped by the part that they change.
const editRows = new Map();  // 'key/0' -> the item on the page
let editsOf = '';  // which rows are on the page

const EDIT_ROW = `<div class="names"><span class="less"></span><span class="more"></span></div>
  <input type="range" step="0.05">
  <div class="line"><span class="change"></span><input type="number" step="0.1"></div>`;

// The network's, and those of work that was made where more were known.
function listedEdits() {
  const own = state.edits_fit ? network.edits : [], keys = new Set(own.map(({key}) => key));
  return [...own, ...state.edits.filter(({key}) => !keys.has(key))];
}

const editOf = key => listedEdits().find(edit => edit.key === key);

function showEdits() {
  const edits = listedEdits(), wanted = edits.map(({key}) => key).join();
  part('edits-box').hidden = !network.edits.length && !edits.length;
  part('edits-hint').hidden = network.edits.length > 0 || Object.keys(state.directions).length > 0;
  part('edits').classList.toggle('numbers', part('edit-numbers').checked);
  if (wanted !== editsOf) {
    editsOf = wanted;
    editRows.clear();
    const groups = new Map();
    for (const edit of edits) groups.set(edit.group, [...groups.get(edit.group) ?? [], edit]);
    part('edits').replaceChildren(...[...groups].map(makeEditGroup));
  }
  for (const edit of edits) {
    const item = editRows.get(`${edit.key}/0`);
    if (!dragging && document.activeElement !== item.querySelector('[type=number]')) {
      showStrength(item, strengths.get(`${edit.key}/0`) || 0);
    }
  }
  actionButton('reset-edits').hidden = !edits.length;
  actionButton('reset-edits').disabled = !edits.some(({key}) => isMoved(key));
  searchEdits();
}

function makeEditGroup([title, edits]) {
  const group = document.createElement('section'), heading = document.createElement('h3');
  const list = document.createElement('ul');
  heading.textContent = title;
  list.append(...edits.map(makeEditRow));
  group.append(heading, list);
  return group;
}

function makeEditRow({key, less, more, group, works, faces, levels: [inside, outside]}) {
  const item = document.createElement('li');
  item.innerHTML = EDIT_ROW;
  item.dataset.words = `${group} ${less} ${more}`.toLowerCase();
  item.querySelector('.less').textContent = less;
  item.querySelector('.more').textContent = more;
  item.querySelector('.change').textContent = `region ${inside.toFixed(1)}, rest ${outside.toFixed(1)}`
    + (faces ? `; ${works} of ${faces} faces` : '');
  item.querySelector('[type=range]').setAttribute('aria-label', `${less} to ${more}`);
  item.querySelector('[type=number]').setAttribute('aria-label', `${less} to ${more}, as a number`);
  listenToSlider(item, key, 0, network.limits.end_strength);
  editRows.set(`${key}/0`, item);
  return item;
}

// Hides what does not have all of the words that are looked for.
function searchEdits() {
  const words = part('edits-search').value.trim().toLowerCase().split(/\s+/);
  let found = 0;
  for (const group of part('edits').children) {
    const items = [...group.querySelectorAll('li')];
    for (const item of items) item.hidden = !words.every(word => item.dataset.words.includes(word));
    group.hidden = items.every(item => item.hidden);
    found += items.filter(item => !item.hidden).length;
  }
  part('edits-note').textContent = network.edits.length && !state.edits_fit
    ? `The network's own are of the space ${network.edits_space}: choose it under "Files, space and layers".`
    : found ? '' : 'None has such a name.';
}

// One box for numbers in each list of sliders: both say the same.
function showNumbers(box) {
  for (const other of [part('show-numbers'), part('edit-numbers')]) other.checked = box.checked;
  showDirections();
  showEdits();
}

async function resetEdits() {
  for (const {key} of listedEdits()) forgetStrengths(key);
  leaveHeatMap();
  showEdits();
  await render('full');
}

// A word that is not parted at its hyphens.
function makeWord(text) {
  const word = document.createElement('span');
  word.textContent = text;
  return word;
}

// At the start: open where there is nothing else to go on with.
function unfoldEdits() {
  part('edits-box').open = state.steps.length < 2 || state.edits.length > 0;
}
