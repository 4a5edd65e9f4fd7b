// The directions of the active region, or those that are searched for, each with a slider.
const rows = new Map();  // 'region/index' -> the item on the page
let rowsOf = '';  // which rows are on the page

const ROW = `<button type="button" class="end low"><img alt=""></button>
  <div class="middle">
    <div class="line"><span class="label"></span><span class="change"></span><input type="number" step="0.1"></div>
    <input type="range" step="0.05">
  </div>
  <button type="button" class="end high"><img alt=""></button>`;

// What a direction does at positive strength, as far as that is known.
function directionName(region, index) {
  const label = state.directions[region]?.labels[index].replace(/ \+$/, '');
  return label ? label[0].toUpperCase() + label.slice(1) : `Direction ${index + 1}`;
}

// The button that finds directions, and Enter on the picture.
async function findDirections() {
  const name = picker.active, region = picker.regions.get(name);
  if (!region || region.empty || region.protect) return;
  leaveHeatMap();
  await sendRegion(name);
  show(await ask('factorize', {name}));
  announce(state.directions[name] ? `Directions of ${name} are there` : `Directions of ${name} are on their way`);
  pollSoon();
}

// What is listed: [region, index] of the active region; while something is searched for, of all that have it.
function listedDirections() {
  const words = part('search').value.trim().toLowerCase(), listed = [];
  for (const [region, {levels}] of Object.entries(state.directions)) {
    for (let index = 0; index < levels.length; index++) {
      const text = `${region} ${directionName(region, index)}`.toLowerCase();
      if (words ? words.split(/\s+/).every(word => text.includes(word)) : region === picker.active) {
        listed.push([region, index]);
      }
    }
  }
  return listed;
}

function showDirections() {
  const name = picker.active, directions = name === null ? undefined : state.directions[name];
  const all = Object.values(state.directions).reduce((sum, {levels}) => sum + levels.length, 0);
  part('search-box').hidden = !all;
  const searching = part('search').value.trim() !== '', listed = listedDirections();
  part('directions-title').textContent = searching ? 'Directions found by name'
    : directions ? `Directions of ${shownName(name)}` : 'Directions';
  part('directions-note').textContent = searching ? listed.length ? '' : 'None has such a name.'
    : directionsNote(directions);
  const wanted = JSON.stringify([searching, listed]);
  if (wanted !== rowsOf) {
    rowsOf = wanted;
    rows.clear();
    part('directions').replaceChildren(...listed.flatMap(([region, index], place) => {
      const item = makeRow(region, index);
      rows.set(`${region}/${index}`, item);
      return searching && region !== listed[place - 1]?.[0] ? [makeHeading(region), item] : [item];
    }));
  }
  for (const [region, index] of listed) updateRow(region, state.directions[region], index);
  part('directions').classList.toggle('numbers', part('show-numbers').checked);
  actionButton('reset-region').hidden = !directions || searching;
  actionButton('reset-region').textContent = `Reset ${shownName(name)}`;
  actionButton('reset-region').disabled = !isMoved(name);
  actionButton('reset').disabled = !movedSliders().length;
  picker.filled = !directions;
}

function makeHeading(region) {
  const item = document.createElement('li');
  item.className = 'group-title';
  item.textContent = shownName(region);
  return item;
}

function directionsNote(directions) {
  if (!directions) return 'Sliders appear here when directions are found.';
  const {elsewhere, quick, stale, measured, levels} = directions;
  return (elsewhere ? `Found on ${elsewhere}, tried here. ` : '')
    + (quick ? 'Found by a quick search. ' : '')
    + (stale ? 'The protected regions have changed since: find them again. ' : '')
    + (!part('show-numbers').checked ? '' : 'Change at strength 1, in grey levels of 255'
      + (measured < levels.length ? '; \u2248 is predicted and being measured.' : '.'));
}

function makeRow(region, index) {
  const {slider_strength: end, end_strength: pictured} = network.limits, item = document.createElement('li');
  item.innerHTML = ROW;
  listenToSlider(item, region, index, end);
  for (const [side, value] of [['low', -pictured], ['high', pictured]]) {
    item.querySelector(`.${side}`).addEventListener('click', () => setStrength(region, index, value, 'full'));
  }
  return item;
}

// The slider of a row, which goes to `end` both ways, and its field for numbers, which goes further.
function listenToSlider(item, region, index, end) {
  const slider = item.querySelector('[type=range]'), field = item.querySelector('[type=number]');
  const most = network.limits.strength;
  [slider.min, slider.max, field.min, field.max] = [-end, end, -most, most];

  const set = (value, size) => setStrength(region, index, value, size);
  slider.addEventListener('input', () => set(Number(slider.value), 'preview'));
  // A slider that is dragged back to where it was fires no change.
  for (const event of ['change', 'pointerup', 'pointercancel']) {
    slider.addEventListener(event, () => { if (dragging) set(Number(slider.value), 'full'); });
  }
  slider.addEventListener('dblclick', () => set(0, 'full'));
  field.addEventListener('change', () => set(Math.min(most, Math.max(-most, Number(field.value) || 0)), 'full'));
}

// A strength on its slider, whose bar goes from zero to it, and in its field.
function showStrength(item, value) {
  const slider = item.querySelector('[type=range]'), end = Number(slider.max);
  slider.value = value;
  const [from, to] = [0, Math.max(-end, Math.min(end, value))].sort((a, b) => a - b).map(at => 50 + 50 * at / end);
  slider.style.setProperty('--from', `${from}%`);
  slider.style.setProperty('--to', `${to}%`);
  item.querySelector('[type=number]').value = Number(value.toFixed(2));
}

// What becomes known of a direction while its row is on the page: its name, measured changes, pictures of its ends.
function updateRow(region, directions, index) {
  const item = rows.get(`${region}/${index}`), value = strengths.get(`${region}/${index}`) || 0;
  const [inside, outside] = directions.levels[index].map(level => level.toFixed(level < 10 ? 1 : 0));
  const name = directionName(region, index), pictured = network.limits.end_strength;
  item.querySelector('.label').textContent = name;
  item.querySelector('.change').textContent = `region ${inside}, rest ${outside}`;
  item.classList.toggle('predicted', index >= directions.measured);
  const field = item.querySelector('[type=number]');
  item.querySelector('[type=range]').setAttribute('aria-label', `${name}, ${region}`);
  field.setAttribute('aria-label', `${name}, ${region}, as a number`);
  if (!dragging && document.activeElement !== field) showStrength(item, value);
  const ends = directions.ends[index];
  ['low', 'high'].forEach((side, number) => {
    const button = item.querySelector(`.${side}`), image = button.querySelector('img');
    button.disabled = !ends && !image.src;
    button.setAttribute('aria-label', `${name} at ${number ? '+' : '\u2212'}${pictured}, ${region}`);
    if (ends && image.getAttribute('src') !== ends[number]) image.src = ends[number];
  });
}
