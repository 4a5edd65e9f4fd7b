// Files to take away, and the commands that make the picture again.

// What a file is made of: sliders that are moved, directions that are found.
const NEEDS = {directions: 'found', all: 'found', strip: 'moved', webp: 'moved', mp4: 'moved'};

function showSaving() {
  const moved = movedSliders().length > 0, there = {found: moved || Object.keys(state.directions).length > 0, moved};
  for (const button of root.querySelectorAll('[data-save]')) {
    const needs = NEEDS[button.dataset.save];
    if (!button.matches('.busy')) button.disabled = Boolean(needs) && !there[needs];
  }
  actionButton('copy').disabled = !there.moved;
  part('save-note').textContent = !there.found ? 'Find directions or move a slider, and there is more to save.'
    : there.moved ? '' : 'Move a slider, and there is more to save.';
}

async function download(button) {
  const kind = button.dataset.save, before = button.textContent;
  button.disabled = true;
  button.classList.add('busy');
  button.textContent = 'Saving \u2026';
  try {
    const region = picker.active in state.directions ? picker.active
      : Object.keys(state.directions)[0] ?? state.edits[0]?.key ?? '';
    const answer = await ask('download', {kind, region});
    giveFile(answer);
    announce(`${answer.name} is saved`);
  } finally {
    button.classList.remove('busy');
    button.textContent = before;
    showSaving();
  }
}

function giveFile({name, content}) {
  const bytes = Uint8Array.from(atob(content), character => character.charCodeAt(0));
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([bytes]));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);  // the browser has read it by then
}

// The edit as a line for a shell. What it reads is downloaded with it, so that it runs in the folder of downloads.
async function copyCommandLine() {
  const {text, files, photograph} = await ask('command_line');
  part('commands').textContent = text;
  part('commands').hidden = false;
  files.forEach(giveFile);
  part('save-note').textContent = [
    files.length ? `It reads ${files.map(file => file.name).join(' and ')}, which is downloaded: run it in that folder.`
      : '', photograph ? "It makes the network's picture, without the photograph around it." : '',
  ].join(' ');
  try {
    await navigator.clipboard.writeText(text);
    announce('The command line is on the clipboard');
    actionButton('copy').textContent = 'Copied';
    setTimeout(() => { actionButton('copy').textContent = 'Copy as command line'; }, 1500);
  } catch (error) {  // no clipboard outside a secure page: the text is there to be selected
    getSelection().selectAllChildren(part('commands'));
  }
}
