// The picture nearer: in steps, or with Ctrl and the wheel. It is moved by scrolling, or with the hand.
const ZOOMS = [1, 1.5, 2, 3, 4, 6];
let zoom = 1;
let hold = null;  // of the hand: where it took hold, and what was in view then

// Keeps what is at `at`, in fractions of the stage, where it is.
function zoomTo(next, at = [0.5, 0.5]) {
  const stage = part('stage'), view = part('view');
  next = Math.max(ZOOMS[0], Math.min(ZOOMS.at(-1), next));
  const [x, y] = [stage.scrollLeft + at[0] * stage.clientWidth, stage.scrollTop + at[1] * stage.clientHeight];
  const factor = next / zoom;
  zoom = next;
  view.style.width = view.style.height = `${100 * zoom}%`;
  stage.classList.toggle('near', zoom > 1);
  stage.scrollLeft = x * factor - at[0] * stage.clientWidth;
  stage.scrollTop = y * factor - at[1] * stage.clientHeight;
  actionButton('zoom-fit').textContent = `${Math.round(100 * zoom)} %`;
}

const nearer = () => zoomTo(ZOOMS.find(step => step > zoom) ?? zoom);
const farther = () => zoomTo(ZOOMS.findLast(step => step < zoom) ?? 1);

function listenToZoom() {
  const stage = part('stage');
  stage.addEventListener('wheel', event => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const {left, top, width, height} = stage.getBoundingClientRect();
    zoomTo(zoom * Math.exp(-event.deltaY / 300), [(event.clientX - left) / width, (event.clientY - top) / height]);
  }, {passive: false});
  stage.addEventListener('pointerdown', event => {
    if (event.button !== 1 && (picker.tool !== 'hand' || event.button)) return;
    event.preventDefault();
    stage.setPointerCapture(event.pointerId);
    hold = [event.clientX, event.clientY, stage.scrollLeft, stage.scrollTop];
  });
  stage.addEventListener('pointermove', event => {
    if (hold) stage.scrollTo(hold[2] + hold[0] - event.clientX, hold[3] + hold[1] - event.clientY);
  });
  for (const end of ['pointerup', 'pointercancel']) stage.addEventListener(end, letGoOfPicture);
}

function letGoOfPicture() {
  hold = null;
}
