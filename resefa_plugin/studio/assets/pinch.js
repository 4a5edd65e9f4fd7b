// Two fingers on the picture: it comes nearer as they part, and goes where they go. What the first of them has begun to
// draw is left.
const fingers = new Map();  // the pointer's number -> [x, y] on the screen
let pinch = null;  // how it began: {apart, zoom, place}, the last what was between the fingers, in fractions of all
let pinching = false;  // until all fingers are gone

// How far the fingers are from each other, and what is in the middle of them, from the corner of the stage.
function fingersNow() {
  const [[x, y], [u, v]] = fingers.values(), {left, top} = part('stage').getBoundingClientRect();
  return {apart: Math.max(1, Math.hypot(u - x, v - y)), middle: [(x + u) / 2 - left, (y + v) / 2 - top]};
}

function beginPinch() {
  const stage = part('stage'), {apart, middle: [x, y]} = fingersNow();
  const [width, height] = [zoom * stage.clientWidth, zoom * stage.clientHeight];
  pinch = {apart, zoom, place: [(stage.scrollLeft + x) / width, (stage.scrollTop + y) / height]};
  pinching = true;
  abandonDrawing();
  letGoOfPicture();
}

function followFingers() {
  const stage = part('stage'), {apart, middle: [x, y]} = fingersNow();
  zoomTo(pinch.zoom * apart / pinch.apart);
  stage.scrollTo(pinch.place[0] * zoom * stage.clientWidth - x, pinch.place[1] * zoom * stage.clientHeight - y);
}

function listenToPinch() {
  const stage = part('stage');
  stage.addEventListener('pointerdown', event => {
    if (event.pointerType !== 'touch') return;
    if (event.isPrimary) {  // the first: of those before, the end was not told
      fingers.clear();
      pinching = false;
    }
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    if (fingers.size < 2) return;
    if (fingers.size === 2) beginPinch();
    event.preventDefault();
    event.stopPropagation();
  }, true);
  stage.addEventListener('pointermove', event => {
    if (!fingers.has(event.pointerId)) return;
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    if (pinching) event.stopPropagation();
    if (fingers.size === 2) followFingers();
  }, true);
  for (const end of ['pointerup', 'pointercancel']) {
    stage.addEventListener(end, event => {
      if (!fingers.delete(event.pointerId)) return;
      if (pinching) event.stopPropagation();
      if (fingers.size === 2) beginPinch();  // a third has gone
      if (!fingers.size) pinching = false;
    }, true);
  }
}
