// The picture: edited, unedited, or as a heat map of the change.
const pictures = {original: '', edited: '', heat: ''};  // data URLs
let shown = 'edited';  // a key of `pictures`

function showPicture() {
  const source = pictures[shown] || pictures.edited;
  if (part('picture').src !== source) part('picture').src = source;
  const words = {original: 'unedited', heat: 'heat map of the change'}[shown] || describeEdit();
  part('picture').alt = `${state.sample.name}, ${words}`;
  part('badge').hidden = shown !== 'original';
  const wiping = shown === 'edited' && actionButton('wipe').getAttribute('aria-pressed') === 'true';
  part('stage').classList.toggle('wiping', wiping);
  if (wiping && part('before').src !== pictures.original) part('before').src = pictures.original;
  showSaving();
  picker.visible = shown === 'edited' && part('show-regions').checked;
}

function describeEdit() {
  const moves = movedSliders().map(([region, index, value]) =>
    `${editOf(region)?.more ?? `${region} ${index + 1}`} at ${value.toFixed(1)}`);
  return moves.join(', ') || 'unedited';
}

// The unedited picture while a button or a key is held, then what was there before.
function compare(held) {
  if (!state || (shown === 'original') === held) return;
  const heatMap = actionButton('heat-map').getAttribute('aria-pressed') === 'true';
  shown = held ? 'original' : heatMap ? 'heat' : 'edited';
  showPicture();
}

// Before and after beside each other, parted by a line that a slider moves.
function toggleWipe() {
  const button = actionButton('wipe'), on = button.getAttribute('aria-pressed') !== 'true';
  button.setAttribute('aria-pressed', String(on));
  if (on) leaveHeatMap();
  moveWipe();
  showPicture();
}

function moveWipe() {
  part('view').style.setProperty('--wipe', `${part('wipe-place').value}%`);
}

// The picture as it will be saved, in all its size.
async function showFullSize() {
  const {content} = await ask('download', {kind: 'picture', region: ''});
  part('full-picture').src = `data:image/png;base64,${content}`;
  part('full-picture').alt = part('picture').alt;
  part('full').showModal();
}

async function toggleHeatMap() {
  if (shown === 'heat') {
    leaveHeatMap();
  } else {
    const answer = await ask('heat');
    pictures.heat = answer.picture;
    shown = 'heat';
    actionButton('heat-map').setAttribute('aria-pressed', 'true');
    const [inside, outside] = [answer.inside, answer.outside].map(level => level.toFixed(1));
    part('figures').dataset.pointed = '';
    part('figures').textContent = `Changed: region ${inside}, rest ${outside} grey levels; brightest is ${answer.top}`;
  }
  showPicture();
}

// A heat map is of one edit: whatever changes the edit ends it.
function leaveHeatMap() {
  if (shown === 'heat') shown = 'edited';
  actionButton('heat-map').setAttribute('aria-pressed', 'false');
  part('figures').textContent = '';
}
