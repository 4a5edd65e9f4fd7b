// The sample: of a seed or of a file, and the latent space in which it is edited.

function showSample() {
  const {sample} = state;
  part('seed').value = sample.seed ?? '';
  part('trunc').value = sample.trunc;
  part('class').value = sample.label;
  part('sample-note').textContent = sample.note ? `From your file: ${sample.note}.` : '';
  part('space').value = state.space;
  if (document.activeElement !== part('layers')) part('layers').value = (state.layers ?? []).join(',');
}

function truncationAndClass() {
  if (part('trunc').value === '') throw new Error('enter a truncation: 1 for none, 0.7 for typical samples');
  const cutoff = part('cutoff').value === '' ? null : Number(part('cutoff').value);
  return {trunc: Number(part('trunc').value), cutoff, label: part('class').value};
}

async function showSeed(seed) {
  part('seed').value = seed;
  show(await ask('seed', {seed, ...truncationAndClass()}));
  announce(`${state.sample.name} is shown`);
}

async function useSpace() {
  show(await ask('space', {space: part('space').value, layers: part('layers').value}));
}

async function uploadLatent() {
  const file = part('latent-file').files[0];
  part('latent-file').value = '';
  if (!file) return;
  const values = {name: file.name, content: await readDataUrl(file), number: Number(part('latent-number').value) || 1};
  show(await ask('upload', {...values, ...truncationAndClass()}));
}

// A file as a data URL, unless it is larger than the server takes.
function readDataUrl(file) {
  const most = network.limits.upload_bytes;
  return new Promise((resolve, reject) => {
    if (file.size > most) {
      return reject(new Error(`${file.name} is larger than ${most / 2 ** 20} MB, which no latent and no mask is`));
    }
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(`${file.name} cannot be read`));
    reader.readAsDataURL(file);
  });
}
