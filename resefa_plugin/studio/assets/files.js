// Files that people bring: chosen, dropped on the page or pasted. What a file is, the server tells by its content.
const OPENED = {
  work: 'Your work is open', directions: 'The directions are open', latent: 'The latent is shown',
  photograph: 'Your photograph is being found in the network',
};
let likenessNumber = 0;  // of the last picture of the way there

async function openFile(file) {
  if (!file) return;
  const number = Number(part('latent-number').value) || 1;
  const answer = await ask('open_file', {name: file.name, content: await readDataUrl(file), number,
                                         face: Number(part('face').value), ...truncationAndClass()});
  show(answer);
  leaveHeatMap();
  await drawRegionsOfState();
  announce(OPENED[answer.kind]);
  pollSoon();
}

// While a photograph is found in the network, the likeness grows over the picture.
function showLikeness(likeness) {
  const searching = status.jobs.some(job => job.kind === 'photograph');
  part('likeness').hidden = !searching || !part('likeness').src;
  if (!likeness) return;
  likenessNumber = likeness.number;
  part('likeness').src = likeness.picture;
  part('likeness').hidden = !searching;
}

async function openChosen() {
  const file = part('file').files[0];
  part('file').value = '';
  await openFile(file);
}

function listenToFiles() {
  const holdsFile = event => [...event.dataTransfer?.types ?? []].includes('Files');
  document.addEventListener('dragover', event => {
    if (!holdsFile(event)) return;
    event.preventDefault();
    root.classList.add('dropping');
  });
  document.addEventListener('dragleave', event => { if (!event.relatedTarget) root.classList.remove('dropping'); });
  document.addEventListener('drop', event => {
    if (!holdsFile(event)) return;
    event.preventDefault();
    root.classList.remove('dropping');
    attempt(() => openFile(event.dataTransfer.files[0]));
  });
  document.addEventListener('paste', event => {
    const file = [...event.clipboardData?.files ?? []][0];
    if (file) attempt(() => openFile(file));
  });
}

// A file as a data URL, unless it is larger than the server takes.
function readDataUrl(file) {
  const most = network.limits.upload_bytes;
  return new Promise((resolve, reject) => {
    if (file.size > most) {
      return reject(new Error(`${file.name} is larger than ${most / 2 ** 20} MB, the most that the studio takes`));
    }
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(`${file.name} cannot be read`));
    reader.readAsDataURL(file);
  });
}
