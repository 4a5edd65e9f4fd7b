// What every control does, and the start of the page.

// By the `data-action` of the button.
const ACTIONS = {
  'dismiss': () => showNotice(''),
  'previous': () => showSeed(Math.max(0, Number(part('seed').value) - 1)),
  'next': () => showSeed(Number(part('seed').value) + 1),
  'random': () => showSeed(Math.floor(Math.random() * 100000)),
  'use-space': useSpace,
  'clear': clearRegion,
  'undo': () => goInHistory(-1),
  'redo': () => goInHistory(1),
  'heat-map': toggleHeatMap,
  'draw-box': drawTypedBox,
  'find': findDirections,
  'prepare': prepareSample,
  'reset': () => resetSliders(),
  'reset-region': () => resetSliders(picker.active),
  'reset-edits': resetEdits,
  'wipe': toggleWipe,
  'full-size': showFullSize,
  'close-full': () => part('full').close(),
  'zoom-in': nearer,
  'zoom-out': farther,
  'zoom-fit': () => zoomTo(1),
  'more-samples': moreSamples,
  'copy': copyCommandLine,
  'ask-anew': () => part('anew').showModal(),
  'go-on': () => part('anew').close(),
  'start-anew': startAnew,
  'save-first': async () => {
    part('anew').close();
    await download(root.querySelector('[data-save=all]'));
    part('anew').showModal();
  },
};

// By the `data-part` of the field.
const CHANGES = {
  'show-regions': showPicture,
  'show-numbers': () => showNumbers(part('show-numbers')),
  'edit-numbers': () => showNumbers(part('edit-numbers')),
  'parts-of': choosePartsOf,
  'keep-background': keepBackground,
  'file': openChosen,
  'region-name': renameRegion,
  'region-purpose': changePurpose,
  'preset': drawPreset,
  'mask-file': drawMaskFile,
};

const TOOL_KEYS = {b: 'box', p: 'brush', e: 'eraser', f: 'part', h: 'hand'};
const ZOOM_KEYS = {'+': nearer, '-': farther, '0': () => zoomTo(1)};
const COMPARE_KEY = 'c';


async function keepBackground() {
  leaveHeatMap();
  show(await ask('keep', {keep: part('keep-background').checked}));
}

function chooseTool(name) {
  picker.tool = name;
  for (const button of root.querySelectorAll('[data-tool]')) {
    button.setAttribute('aria-pressed', String(button.dataset.tool === name));
  }
  part('brush-size-label').classList.toggle('idle', name !== 'brush' && name !== 'eraser');
  part('parts-of-label').classList.toggle('idle', name !== 'part' || !network.own_parts);
  part('stage').dataset.drawing = name;
  pointAt(null);
  if (name === 'part') attempt(lookForParts);
}

// The field counts the brush's width in hundredths of the picture's longer side.
function setBrushSize() {
  picker.radius = part('brush-size').value / 200;
}

function listen() {
  for (const [name, action] of Object.entries(ACTIONS)) {
    actionButton(name).addEventListener('click', () => attempt(action));
  }
  for (const [name, action] of Object.entries(CHANGES)) {
    part(name).addEventListener('change', () => attempt(action));
  }
  for (const button of root.querySelectorAll('[data-tool]')) {
    button.addEventListener('click', () => chooseTool(button.dataset.tool));
  }
  for (const button of root.querySelectorAll('[data-save]')) {
    button.addEventListener('click', () => attempt(() => download(button)));
  }
  part('brush-size').addEventListener('input', setBrushSize);
  part('search').addEventListener('input', showDirections);
  part('edits-search').addEventListener('input', searchEdits);
  part('wipe-place').addEventListener('input', moveWipe);
  part('gallery-box').addEventListener('toggle', () => attempt(fillGallery));
  part('sample-form').addEventListener('submit', event => {
    event.preventDefault();
    attempt(() => showSeed(Number(part('seed').value)));
  });
  listenToPointer();
  listenToZoom();
  listenToPinch();
  listenToFiles();
  listenToCompareButton();
  document.addEventListener('keydown', pressKey);
  document.addEventListener('keyup', event => { if (event.key.toLowerCase() === COMPARE_KEY) compare(false); });
}

function listenToCompareButton() {
  const button = actionButton('compare');
  button.addEventListener('pointerdown', () => compare(true));
  for (const event of ['pointerup', 'pointerleave', 'pointercancel', 'keyup', 'blur']) {
    button.addEventListener(event, () => compare(false));
  }
  button.addEventListener('keydown', event => {
    if (event.key !== ' ' && event.key !== 'Enter') return;
    event.preventDefault();
    compare(true);
  });
  button.addEventListener('contextmenu', event => event.preventDefault());  // of a long press on a touch screen
}

function pressKey(event) {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && !/range|checkbox/.test(event.target.type);
  if (typing) return;
  const key = event.key.toLowerCase();
  if ((event.ctrlKey || event.metaKey) && key === 'z') {
    event.preventDefault();
    attempt(() => goInHistory(event.shiftKey ? 1 : -1));
  } else if (event.ctrlKey && key === 'y') {
    event.preventDefault();
    attempt(() => goInHistory(1));
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (TOOL_KEYS[key]) chooseTool(TOOL_KEYS[key]);
  if (ZOOM_KEYS[key]) ZOOM_KEYS[key]();
  if (key === COMPARE_KEY) compare(true);
  if (key === 'enter' && event.target === part('overlay')) attempt(findDirections);
}

// What the network is and what may be asked for, in the fields and texts of the page.
function showNetwork() {
  const {limits} = network;
  part('network').textContent = `${network.name}, ${network.width} \u00d7 ${network.height}`;
  part('licence').textContent = network.licence ? `About the weights: ${network.licence}` : '';
  part('stage').style.aspectRatio = `${network.width} / ${network.height}`;
  part('stage').style.setProperty('--aspect', network.width / network.height);
  part('wipe-place').value = 50;
  part('edits-command').replaceChildren(...network.edits_command.split(' ').flatMap(word => [' ', makeWord(word)]).slice(1));
  if (network.own_parts && network.classes > 1) part('parts-of').value = 'network';
  part('class-field').hidden = network.classes < 2;
  part('seed').max = limits.seed;
  [part('trunc').min, part('trunc').max] = limits.truncation;
  part('space').replaceChildren(...network.spaces.map(name => new Option(name)));
  for (const [title, presets] of Object.entries(network.presets)) {
    const group = document.createElement('optgroup');
    group.label = title;
    group.append(...Object.keys(presets).map(name => new Option(name.replaceAll('_', ' '), `${title}/${name}`)));
    part('preset').append(group);
  }
}

async function start() {
  root.dataset.ready = 'opening';
  document.documentElement.lang ||= 'en';
  const answer = await ask('open', {token: remembered(TOKEN)});
  ({network, token} = answer);
  remember(TOKEN, token);
  showNetwork();
  picker = makePicker(part('overlay'), network.width, network.height, {
    needed: () => attempt(addRegion),
    drawn: name => attempt(() => sendRegion(name)),
  });
  chooseTool('box');
  setBrushSize();
  picker.add('region1', false);
  listen();
  keptEdition = answer.found ? null : answer.state.edition;
  show(answer);
  await drawRegionsOfState();
  if (!answer.found) await attempt(takeBack);
  unfoldEdits();
  listenToLeaving();
  poll();
}

attempt(start);
