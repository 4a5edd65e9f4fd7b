// Parts to point at: of a face, whose map comes from the server once for each sample, or those that the network has
// itself, which are the same in all of its pictures.
let seenParts = null;  // {of, width, height, labels, names}: `labels` has an index of `names` for each place

let pointedAt = null;  // where the pointer is

const wantsOwnParts = () => part('parts-of').value === 'network';
const partsKey = () => wantsOwnParts() ? 'network' : JSON.stringify([state.sample, state.photograph]);

async function lookForParts() {
  if (seenParts?.of === partsKey()) return;
  const asked = partsKey(), {map, parts, own} = await ask('parts', {own: wantsOwnParts()});
  const of = own ? 'network' : asked;
  if (own && !wantsOwnParts()) {
    part('parts-of').value = 'network';
    announce('No face is seen: parts of this network can be clicked');
  }
  if (of !== partsKey()) return;  // somebody has chosen anew meanwhile
  const image = new Image();
  image.src = map;
  await image.decode();
  const canvas = makeCanvas(image.width, image.height), context = canvas.getContext('2d', {willReadFrequently: true});
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const labels = Uint8Array.from({length: pixels.length / 4}, (_, place) => pixels[4 * place]);
  seenParts = {of, width: canvas.width, height: canvas.height, labels, names: parts};
  pointAt(pointedAt);
  pollSoon();
}

function partAt([x, y]) {
  const {width, height, labels, names} = seenParts;
  const column = Math.min(width - 1, Math.floor(x / network.width * width));
  const row = Math.min(height - 1, Math.floor(y / network.height * height));
  return names[labels[row * width + column]];
}

// Of a face, or of the network.
async function choosePartsOf() {
  pointAt(null);
  showHint();
  await lookForParts();
}

// Shows which part a click would take; null for none.
function pointAt(place) {
  pointedAt = place;
  const name = place && seenParts?.of === partsKey() ? partAt(place) : '';
  if (name === part('figures').dataset.pointed) return;
  part('figures').dataset.pointed = name;
  part('figures').textContent = shownName(name);
  picker.hint = name ? maskOfPart(name) : null;
}

function maskOfPart(name) {
  const {width, height, labels, names} = seenParts, index = names.indexOf(name);
  const mask = makeCanvas(width, height), context = mask.getContext('2d');
  const pixels = context.createImageData(width, height);
  labels.forEach((label, place) => { if (label === index) pixels.data[4 * place + 3] = 255; });
  context.putImageData(pixels, 0, 0);
  return mask;
}

// The part at a place as a region, and its directions; `add` takes it to the region that is there.
async function choosePart(place, add) {
  await lookForParts();
  if (seenParts?.of !== partsKey()) return;
  const name = partAt(place);
  if (!add && picker.regions.has(name)) {
    picker.active = name;
    return showRegions();
  }
  const {mask} = await ask('part', {part: name, own: wantsOwnParts()});
  if (!add || picker.active === null) startRegion(name);
  await picker.setMask(picker.active, mask, add);
  pointAt(null);
  await findDirections();
}
