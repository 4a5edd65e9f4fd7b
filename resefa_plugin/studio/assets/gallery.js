// Samples to start from: small pictures of seeds, which come one by one.
const GALLERY = 12;  // at a time
let galleryOf = '';  // the truncation and class that the pictures are of

async function fillGallery() {
  if (!part('gallery-box').open) return;
  const values = truncationAndClass(), wanted = JSON.stringify(values);
  if (wanted !== galleryOf) part('gallery').replaceChildren();
  galleryOf = wanted;
  if (!part('gallery').children.length) await moreSamples();
}

async function moreSamples() {
  const first = part('gallery').children.length, values = truncationAndClass(), wanted = galleryOf;
  const buttons = Array.from({length: GALLERY}, (_, number) => makeThumbnail(first + number));
  part('gallery').append(...buttons);
  for (const button of buttons) {
    const {picture} = await ask('thumbnail', {seed: Number(button.dataset.seed), ...values});
    if (wanted !== galleryOf) return;
    button.firstChild.src = picture;
  }
}

function makeThumbnail(seed) {
  const button = makeButton('', () => attempt(() => showSeed(seed))), image = document.createElement('img');
  image.alt = `Seed ${seed}`;
  button.dataset.seed = seed;
  button.append(image);
  return button;
}

function markShownSample() {
  for (const button of part('gallery').children) {
    button.setAttribute('aria-pressed', String(Number(button.dataset.seed) === state.sample.seed));
  }
}
