// Where the sliders are, and the pictures that follow them.
const strengths = new Map();  // 'region/index' -> strength, as the sliders are now
let dragging = false;  // a slider is held: what the server says of strengths is older
let wantedPicture = null;  // 'preview' while a slider is dragged, 'full' when it is released; null for none
let rendering = false;

// The sliders that are not at zero, as [region, index, strength].
function movedSliders() {
  return [...strengths].filter(([, value]) => value).map(([key, value]) => {
    const [region, index] = key.split('/');
    return [region, Number(index), value];
  });
}

const isMoved = region => movedSliders().some(([name]) => name === region);

// The strengths of the state, unless the sliders are ahead of it.
function takeStrengths() {
  if (dragging || wantedPicture) return;
  strengths.clear();
  for (const [region, index, value] of state.strengths) strengths.set(`${region}/${index}`, value);
}

function forgetStrengths(region) {
  for (const key of [...strengths.keys()]) if (key.startsWith(`${region}/`)) strengths.delete(key);
}

function setStrength(region, index, value, size) {
  strengths.set(`${region}/${index}`, value);
  const item = rows.get(`${region}/${index}`) ?? editRows.get(`${region}/${index}`);
  if (item) showStrength(item, value);
  markMoved();
  leaveHeatMap();
  dragging = size === 'preview';
  render(size);
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

// All sliders to zero, or those of one region.
async function resetSliders(region) {
  if (region === undefined) strengths.clear();
  else forgetStrengths(region);
  leaveHeatMap();
  showDirections();
  showEdits();
  await render('full');
}
