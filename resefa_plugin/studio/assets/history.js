// The steps of the session: back and forth, and a list of them, of which any can be gone to.

function showHistory() {
  const {steps, step} = state;
  actionButton('undo').disabled = step === 0;
  actionButton('redo').disabled = step === steps.length - 1;
  actionButton('undo').setAttribute('aria-label', step ? `Undo: ${steps[step]}` : 'Undo');
  actionButton('redo').setAttribute('aria-label', step < steps.length - 1 ? `Redo: ${steps[step + 1]}` : 'Redo');
  const list = part('history');
  if (list.dataset.steps !== JSON.stringify(steps)) {
    list.dataset.steps = JSON.stringify(steps);
    list.replaceChildren(...steps.map(makeStep));
  }
  [...list.children].forEach((item, index) => {
    item.firstChild.setAttribute('aria-current', index === step ? 'step' : 'false');
    item.classList.toggle('undone', index > step);
  });
}

function makeStep(title, index) {
  const item = document.createElement('li');
  item.append(makeButton(title, () => attempt(() => goInHistory(index - state.step))));
  item.firstChild.className = 'plain';
  return item;
}

async function goInHistory(steps) {
  const to = state.step + steps;
  if (!steps || to < 0 || to >= state.steps.length) return;
  show(await ask('go', {steps}));
  leaveHeatMap();
  await drawRegionsOfState();
  showPicture();
  announce(state.steps[state.step]);
}
