// Parts of a face to point at: a map of them comes from the server once for each sample.
let seenParts = null;  // {sample, width, height, labels, names}: `labels` has an index of `names` for each place

let pointedAt = null;  // where the pointer is

const sampleKey = () => JSON.stringify([state.sample, state.photograph]);

async function lookForParts() {
  if (seenParts?.sample === sampleKey()) return;
  const sample = sampleKey(), {map, parts} = await ask('parts');
  const image = new Image();
  image.src = map;
  await image.decode();
  const canvas = makeCanvas(image.width, image.height), context = canvas.getContext('2d', {willReadFrequently: true});
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const labels = Uint8Array.from({length: pixels.length / 4}, (_, place) => pixels[4 * place]);
  seenParts = {sample, width: canvas.width, height: canvas.height, labels, names: parts};
  pointAt(pointedAt);
  pollSoon();
}

function partAt([x, y]) {
  const {width, height, labels, names} = seenParts;
  const column = Math.min(width - 1, Math.floor(x / network.width * width));
  const row = Math.min(height - 1, Math.floor(y / network.height * height));
  return names[labels[row * width + column]];
}

// Shows which part a click would take; null for none.
function pointAt(place) {
  pointedAt = place;
  const name = place && seenParts?.sample === sampleKey() ? partAt(place) : '';
  if (name === part('figures').dataset.pointed) return;
  part('figures').dataset.pointed = name;
  part('figures').textContent = name;
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
  const name = partAt(place);
  if (!add && picker.regions.has(name)) {
    picker.active = name;
    return showRegions();
  }
  const {mask} = await ask('part', {part: name});
  if (!add || picker.active === null) startRegion(name);
  await picker.setMask(picker.active, mask, add);
  pointAt(null);
  await findDirections();
}
