// The directions of the active region, each with a slider, and the pictures that follow the sliders.
const strengths = new Map();  // "region/index" -> strength, as the sliders are now
let dragging = false;  // a slider is held: what the server says of strengths is older
let wantedPicture = null;  // 'preview' while a slider is dragged, 'full' when it is released; null for none
let rendering = false;
let rowsOf = '';  // the region whose rows are on the page, and their number

const ROW = `<button type="button" class="end low"><img alt=""></button>
  <div class="middle">
    <div class="line"><span class="number"></span><span class="label"></span><span class="change"></span><input type="number" step="0.1"></div>
    <input type="range" step="0.05">
  </div>
  <button type="button" class="end high"><img alt=""></button>`;

// The sliders that are not at zero, as [region, index, strength].
function movedSliders() {
  return [...strengths].filter(([, value]) => value).map(([key, value]) => {
    const [region, index] = key.split('/');
    return [region, Number(index), value];
  });
}

// The strengths of the state, unless the sliders are ahead of it.
function takeStrengths() {
  if (dragging || wantedPicture) return;
  strengths.clear();
  for (const [region, index, value] of state.strengths) strengths.set(`${region}/${index}`, value);
}

function forgetStrengths(region) {
  for (const key of [...strengths.keys()]) if (key.startsWith(`${region}/`)) strengths.delete(key);
}

// Asks for the picture of the sliders. While one request is under way no other is sent: the next is for where they are
// when it is answered.
async function render(size) {
  wantedPicture = wantedPicture === 'full' ? 'full' : size;
  if (rendering) return;
  rendering = true;
  while (wantedPicture) {
    const full = wantedPicture === 'full';
    wantedPicture = null;
    try {
      show(await ask('render', {strengths: movedSliders(), full}));
    } catch (error) {
      showNotice(error.message);
    }
  }
  rendering = false;
}

async function resetSliders() {
  strengths.clear();
  leaveHeatMap();
  showDirections();
  await render('full');
}

// The button that finds directions, and Enter on the picture.
async function findDirections() {
  const name = picker.active;
  if (actionButton('find').disabled) return;
  leaveHeatMap();
  await sendRegion(name);
  show(await ask('factorize', {name}));
  announce(state.directions[name] ? `Directions of ${name} are there` : `Directions of ${name} are on their way`);
  pollSoon();
}

function showDirections() {
  const name = picker.active, directions = name === null ? undefined : state.directions[name];
  part('directions-title').textContent = directions ? `Directions of ${name}` : 'Directions';
  part('directions-note').textContent = directionsNote(directions);
  const wanted = directions ? `${name}/${directions.levels.length}` : '';
  if (wanted !== rowsOf) {
    rowsOf = wanted;
    const rows = directions ? directions.levels.map((_, index) => makeRow(name, index)) : [];
    part('directions').replaceChildren(...rows);
  }
  if (directions) directions.levels.forEach((_, index) => updateRow(name, directions, index));
  picker.filled = !directions;
}

function directionsNote(directions) {
  if (!directions) return 'Sliders appear here when directions are found.';
  const {elsewhere, quick, stale, measured, levels} = directions;
  return (elsewhere ? `Found on ${elsewhere}, tried here. ` : '')
    + (quick ? 'Found by a quick search. ' : '')
    + (stale ? 'The protected regions have changed since: find them again. ' : '')
    + 'Change at strength 1, in grey levels of 255'
    + (measured < levels.length ? '; \u2248 is predicted and being measured.' : '.');
}

function makeRow(region, index) {
  const {strength: most, slider_strength: end, end_strength: pictured} = network.limits;
  const item = document.createElement('li'), title = `Strength of direction ${index + 1} of ${region}`;
  item.innerHTML = ROW;
  item.querySelector('.number').textContent = index + 1;
  const slider = item.querySelector('[type=range]'), field = item.querySelector('[type=number]');
  [slider.min, slider.max, field.min, field.max] = [-end, end, -most, most];
  slider.setAttribute('aria-label', title);
  field.setAttribute('aria-label', `${title}, as a number`);

  const set = (value, size) => {
    strengths.set(`${region}/${index}`, value);
    if (document.activeElement !== field) field.value = Number(value.toFixed(2));
    slider.value = value;
    leaveHeatMap();
    dragging = size === 'preview';
    render(size);
  };
  slider.addEventListener('input', () => set(Number(slider.value), 'preview'));
  // A slider that is dragged back to where it was fires no change.
  for (const event of ['change', 'pointerup', 'pointercancel']) {
    slider.addEventListener(event, () => { if (dragging) set(Number(slider.value), 'full'); });
  }
  slider.addEventListener('dblclick', () => set(0, 'full'));
  field.addEventListener('change', () => set(Math.min(most, Math.max(-most, Number(field.value) || 0)), 'full'));

  for (const [side, value, sign] of [['low', -pictured, '\u2212'], ['high', pictured, '+']]) {
    const button = item.querySelector(`.${side}`);
    button.title = `Direction ${index + 1} at strength ${sign}${pictured}`;
    button.setAttribute('aria-label', `Set direction ${index + 1} to strength ${sign}${pictured}`);
    button.addEventListener('click', () => set(value, 'full'));
  }
  return item;
}

// What becomes known of a direction while its row is on the page: measured changes, pictures of its ends.
function updateRow(region, directions, index) {
  const item = part('directions').children[index], value = strengths.get(`${region}/${index}`) || 0;
  const [inside, outside] = directions.levels[index].map(level => level.toFixed(level < 10 ? 1 : 0));
  item.querySelector('.label').textContent = directions.labels[index];
  item.querySelector('.change').textContent = `region ${inside}, rest ${outside}`;
  item.classList.toggle('predicted', index >= directions.measured);
  const slider = item.querySelector('[type=range]'), field = item.querySelector('[type=number]');
  if (!dragging && document.activeElement !== field) {
    slider.value = value;
    field.value = Number(value.toFixed(2));
  }
  const ends = directions.ends[index];
  ['low', 'high'].forEach((side, number) => {
    const button = item.querySelector(`.${side}`), image = button.querySelector('img');
    button.disabled = !ends;
    if (ends && image.getAttribute('src') !== ends[number]) image.src = ends[number];
  });
}
