// The regions: a chip for each, and their way to the server. The picker has what is drawn, the server what was sent.
const unsent = new Set();  // names of regions that are on their way, of which the server may not know yet

function showRegions() {
  const add = makeButton('+ New region', () => attempt(() => {
    addRegion();
    announce('New region: draw it on the picture');
  }));
  add.className = 'more';
  part('chips').replaceChildren(...[...picker.regions.keys()].map(makeChip), add);
  markMoved();
  const region = picker.regions.get(picker.active);
  if (document.activeElement !== part('region-name')) part('region-name').value = picker.active ?? '';
  part('region-purpose').value = region && region.protect ? 'protect' : 'change';
  const canBeSearched = region && !region.empty && !region.protect;
  actionButton('find').disabled = !canBeSearched;
  actionButton('find').textContent = canBeSearched ? `Find directions of ${shownName(picker.active)}` : 'Find directions';
  showHint();
  showDirections();
}

// Which regions have sliders that are not at zero.
function markMoved() {
  for (const chip of part('chips').querySelectorAll('.chip')) {
    const name = chip.dataset.region, moved = isMoved(name), choose = chip.firstChild;
    chip.classList.toggle('moved', moved);
    if (moved) choose.setAttribute('aria-label', `${name}, moved`);
    else choose.removeAttribute('aria-label');
  }
}

function makeChip(name) {
  const protect = picker.regions.get(name).protect, chip = document.createElement('span');
  chip.className = `chip ${protect ? 'protect' : ''}`;
  chip.dataset.region = name;
  const choose = makeButton(protect ? `${shownName(name)} (stays)` : shownName(name), () => {
    picker.active = name;
    showRegions();
  });
  choose.setAttribute('aria-pressed', String(name === picker.active));
  const remove = makeButton('\u00d7', () => attempt(() => removeRegion(name)));
  remove.setAttribute('aria-label', `Remove region ${name}`);
  chip.append(choose, remove);
  return chip;
}

// What comes next, in a sentence under the button that finds directions.
function showHint() {
  part('hint').textContent = hint();
}

function hint() {
  const region = picker.regions.get(picker.active);
  if (status && status.waiting.length) {
    return status.waiting.every(name => state.directions[name])
      ? 'These are first directions; better ones come when the sample is prepared.'
      : `Directions of ${status.waiting.join(', ')} are on their way.`;
  }
  if (!region || region.empty) {
    const start = 'Drop your photograph on the page, or go on with this sample. ';
    return (state.photograph || state.steps.length > 1 ? '' : start)
      + `Drag a box, click a part of the ${wantsOwnParts() ? 'picture' : 'face'}, or choose a preset. Shift adds to a `
      + 'region.';
  }
  if (region.protect) return 'These pixels are kept. Mark a region that may change, and find its directions.';
  if (state.directions[picker.active] || !status || status.ready) return '';
  return status.direct
    ? 'This space is too large to prepare: each region is searched by itself, which takes a while.'
    : 'The sample is still being prepared. You can go ahead: first directions come sooner.';
}

// A new, empty region, named after `stem` or by the next number.
function addRegion(stem) {
  const {regions} = network.limits;
  if (picker.regions.size >= regions) throw new Error(`there are ${regions} regions already: remove one first`);
  let name = stem || 'region1', number = 1;
  while (picker.regions.has(name)) name = `${stem || 'region'}${++number}`;
  picker.add(name, false);
  showRegions();
}

// Tells the server what is drawn; an empty region is none.
async function sendRegion(name) {
  const region = picker.regions.get(name);
  unsent.add(name);
  try {
    show(region.empty ? await ask('remove', {name})
      : await ask('region', {name, mask: picker.maskUrl(name), protect: region.protect}));
  } finally {
    unsent.delete(name);
  }
}

async function removeRegion(name) {
  const sent = state.regions.some(region => region.name === name);
  picker.remove(name);
  if (!picker.regions.size) picker.add('region1', false);
  forgetStrengths(name);
  if (sent) show(await ask('remove', {name}));
  showRegions();
}

async function clearRegion() {
  if (picker.active === null) return;
  picker.clear(picker.active);
  await sendRegion(picker.active);
}

// A region that the server no longer has goes from the picture too.
function dropRemovedRegions() {
  const names = new Set(state.regions.map(region => region.name));
  for (const [name, region] of picker.regions) {
    if (!names.has(name) && !region.empty && !unsent.has(name)) picker.remove(name);
  }
}

// Draws all regions anew as the server has them: at the start, and after undo.
async function drawRegionsOfState() {
  const {active} = picker;
  for (const name of [...picker.regions.keys()]) picker.remove(name);
  for (const region of state.regions) {
    picker.add(region.name, region.protect);
    await picker.setMask(region.name, region.mask);
  }
  if (!picker.regions.size) picker.add('region1', false);
  const first = state.regions.find(region => region.name in state.directions)?.name;
  if (picker.regions.has(active) || first) picker.active = picker.regions.has(active) ? active : first;
  showRegions();
}

// The directions of a region do not survive another name: the server knows them by the old one.
async function renameRegion() {
  const name = part('region-name').value.trim(), before = picker.active, {limits} = network;
  if (before === null || name === before) return;
  if (!new RegExp(`^(?:${limits.region_name})$`).test(name)) {
    throw new Error(`region name '${name}' is not fit for a file name: ${limits.region_name_rule}`);
  }
  if (picker.regions.has(name)) throw new Error(`there is a region ${name} already`);
  const sent = state.regions.some(region => region.name === before);
  picker.rename(before, name);
  if (sent) {
    unsent.add(name);
    await ask('remove', {name: before});
    await sendRegion(name);
    await render('full');
  }
  showRegions();
}

async function changePurpose() {
  const region = picker.regions.get(picker.active);
  if (!region) return;
  region.protect = part('region-purpose').value === 'protect';
  picker.draw();
  showRegions();
  if (!region.empty) await sendRegion(picker.active);
}

// A region of that name to be drawn: the one that is being drawn if it is empty, otherwise a new one.
function startRegion(name) {
  const region = picker.regions.get(picker.active);
  if (region && region.empty && !picker.regions.has(name)) picker.rename(picker.active, name);
  else addRegion(name);
}

async function drawPreset() {
  const [group, name] = part('preset').value.split('/');
  part('preset').value = '';
  if (!name) return;
  startRegion(name);
  picker.setBox(picker.active, network.presets[group][name], false);
  await sendRegion(picker.active);
  showRegions();
}

async function drawTypedBox() {
  const box = [...root.querySelectorAll('[data-box]')].map(field => Math.round(Number(field.value)));
  if (box[2] < 1 || box[3] < 1) throw new Error('a box needs a width and a height of at least 1 pixel');
  if (picker.active === null) addRegion();
  picker.setBox(picker.active, box, false);
  await sendRegion(picker.active);
}

async function drawMaskFile() {
  const file = part('mask-file').files[0];
  part('mask-file').value = '';
  if (!file) return;
  const {mask} = await ask('mask_file', {mask: await readDataUrl(file)});
  const region = picker.regions.get(picker.active);
  if (!region || !region.empty) {
    const stem = file.name.replace(/\.[^.]*$/, '').replace(/[^A-Za-z0-9_-]+/g, '_').replace(/^[_-]+/, '');
    addRegion(stem.slice(0, 60));
  }
  await picker.setMask(picker.active, mask);
  await sendRegion(picker.active);
}
