// The hand that draws: a mouse, a finger or the arrow keys over the picture.
const KEY_STEPS = 64;  // from one side of the picture to the other; with Alt, each is a pixel
const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
let pressed = null;  // with the part tool, the press that will choose a part: whether it adds to the region
let keyPlace = null;  // where the arrow keys are, in pixels of the picture; null while the mouse draws

function clampToPicture([x, y]) {
  return [Math.min(network.width, Math.max(0, x)), Math.min(network.height, Math.max(0, y))];
}

// Where a pointer is, in pixels of the picture, within it.
function pointerPlace(event) {
  const {left, top, width, height} = part('overlay').getBoundingClientRect();
  return clampToPicture([(event.clientX - left) / width * network.width,
                         (event.clientY - top) / height * network.height]);
}

function listenToPointer() {
  const overlay = part('overlay');
  overlay.addEventListener('pointerdown', event => {
    if (event.button) return;
    hideCross();
    event.preventDefault();
    overlay.focus({preventScroll: true});
    if (picker.tool === 'hand') return;  // which the stage follows
    if (picker.tool === 'part') {
      pressed = {add: event.shiftKey};
      return;
    }
    overlay.setPointerCapture(event.pointerId);
    picker.begin(pointerPlace(event), event.shiftKey);
  });
  overlay.addEventListener('pointermove', event => {
    if (picker.tool === 'part') pointAt(pointerPlace(event));
    else picker.move(pointerPlace(event));
  });
  overlay.addEventListener('pointerleave', () => pointAt(null));
  overlay.addEventListener('pointerup', event => {
    if (pressed) attempt(choosePart.bind(null, pointerPlace(event), pressed.add));
    pressed = null;
    picker.end();
  });
  overlay.addEventListener('pointercancel', () => { pressed = null; picker.cancel(); });
  overlay.addEventListener('keydown', pressDrawingKey);
  overlay.addEventListener('blur', () => { picker.cancel(); hideCross(); });
}

function abandonDrawing() {
  pressed = null;
  picker.abandon();
}

function hideCross() {
  keyPlace = null;
  picker.cross = null;
}

function pressDrawingKey(event) {
  const arrow = ARROWS[event.key];
  if (event.key === 'Escape' && picker.drawing) {
    picker.cancel();
    announce('Nothing is drawn');
  } else if (arrow) {
    const step = event.altKey ? 1 : Math.max(network.width, network.height) / KEY_STEPS;
    const [x, y] = keyPlace ?? [network.width / 2, network.height / 2];
    keyPlace = clampToPicture([x + step * arrow[0], y + step * arrow[1]]);
    picker.cross = keyPlace;
    if (picker.tool === 'part') pointAt(keyPlace);
    else picker.move(keyPlace);
  } else if (event.key === ' ') {
    pressSpace(event.shiftKey);
  } else {
    return;
  }
  event.preventDefault();
}

function pressSpace(keep) {
  keyPlace ??= [network.width / 2, network.height / 2];
  picker.cross = keyPlace;
  if (picker.tool === 'hand') return;
  if (picker.tool === 'part') {
    attempt(() => choosePart(keyPlace, keep));
  } else if (picker.drawing) {
    picker.end();
    announce(`${picker.active} is drawn. Enter finds its directions`);
  } else {
    picker.begin(keyPlace, keep);
    announce(`From ${keyPlace.map(Math.round).join(', ')}: arrows draw, Space ends, Escape leaves it`);
  }
}
