// Files to take away, and the commands that make the picture again.

async function download(button) {
  const kind = button.dataset.save, before = button.textContent;
  button.disabled = true;
  button.textContent = 'Saving \u2026';
  try {
    const region = picker.active in state.directions ? picker.active : Object.keys(state.directions)[0] ?? '';
    if (kind === 'directions' && !region) throw new Error('there are no directions yet: find some first');
    const answer = await ask('download', {kind, region});
    const bytes = Uint8Array.from(atob(answer.content), character => character.charCodeAt(0));
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([bytes]));
    link.download = answer.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);  // the browser has read it by then
    announce(`${answer.name} is saved`);
  } finally {
    button.disabled = false;
    button.textContent = before;
  }
}

async function copyCommands() {
  const {text} = await ask('commands');
  part('commands').textContent = text || 'Find directions and move a slider first.';
  part('commands').hidden = false;
  if (!text) return;
  try {
    await navigator.clipboard.writeText(text);
    announce('The commands are on the clipboard');
    actionButton('copy').textContent = 'Copied';
    setTimeout(() => { actionButton('copy').textContent = 'Copy as command line'; }, 1500);
  } catch (error) {  // no clipboard outside a secure page: the text is there to be selected
    getSelection().selectAllChildren(part('commands'));
  }
}
