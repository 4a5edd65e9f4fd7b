// The sample: of a seed or of a file, and the latent space in which it is edited.

function showSample() {
  const {sample} = state;
  part('seed').value = sample.seed ?? '';
  part('trunc').value = sample.trunc;
  part('class').value = sample.label;
  const plain = sample.note.replace(/ \([^)]*\)/, '');  // figures are for those who look for them
  part('sample-note').textContent = !sample.note ? '' : state.photograph ? `Your photograph: ${plain}.`
    : `From your file: ${sample.note}.`;
  part('sample-note').title = sample.note;
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
