// Two fingers on the picture: it comes nearer as they part, and goes where they go. What the first of them has begun to
// draw is left.
const fingers = new Map();  // the pointer's number -> [x, y] on the screen
let pinching = false;  // until all fingers are gone

// How far the fingers are from each other, and what is in the middle of them.
function fingersNow() {
  const [[x, y], [u, v]] = fingers.values();
  return {apart: Math.max(1, Math.hypot(u - x, v - y)), middle: [(x + u) / 2, (y + v) / 2]};
}

function followFingers(before, after) {
  const stage = part('stage'), {left, top, width, height} = stage.getBoundingClientRect();
  stage.scrollBy(before.middle[0] - after.middle[0], before.middle[1] - after.middle[1]);
  zoomTo(zoom * after.apart / before.apart, [(after.middle[0] - left) / width, (after.middle[1] - top) / height]);
}

function listenToPinch() {
  const stage = part('stage');
  stage.addEventListener('pointerdown', event => {
    if (event.pointerType !== 'touch') return;
    if (event.isPrimary) fingers.clear();  // of one whose end nobody has told
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    if (fingers.size < 2) return;
    pinching = true;
    abandonDrawing();
    letGoOfPicture();
    event.preventDefault();
    event.stopPropagation();
  }, true);
  stage.addEventListener('pointermove', event => {
    if (!fingers.has(event.pointerId)) return;
    const before = fingers.size === 2 ? fingersNow() : null;
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    if (pinching) event.stopPropagation();
    if (before) followFingers(before, fingersNow());
  }, true);
  for (const end of ['pointerup', 'pointercancel']) {
    stage.addEventListener(end, event => {
      if (!fingers.delete(event.pointerId)) return;
      if (pinching) event.stopPropagation();
      if (!fingers.size) pinching = false;
    }, true);
  }
}
