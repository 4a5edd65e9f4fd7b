// What the browser keeps, so that nothing is lost: the name of the session, and a copy of the work in case the server
// has forgotten it. There is one work for each network.
const TOKEN = 'resefa-studio-session';
const KEEP_AFTER = 1200;  // milliseconds without a change
let keptEdition = null, keepTimer = null, keeping = false;
let forgotten = false;  // this page is about to start anew
let keptPhotograph = '';  // by its digest; it is kept beside the work, once
const besideKey = () => `${network.id} photograph`;

// localStorage, where the browser lets us have it; in a frame it may not.
function remembered(name) {
  try { return localStorage.getItem(name); } catch (error) { return null; }
}

function remember(name, value) {
  try { localStorage.setItem(name, value); } catch (error) { /* the session lasts as long as the page */ }
}

// Does one thing with the kept works; rejects where the browser keeps nothing.
function inKeeping(mode, act) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open('resefa-studio', 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore('work');
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const transaction = opening.result.transaction('work', mode), request = act(transaction.objectStore('work'));
      transaction.oncomplete = () => { opening.result.close(); resolve(request.result); };
      transaction.onabort = transaction.onerror = () => { opening.result.close(); reject(transaction.error); };
    };
  });
}

const isKept = () => !state || state.steps.length < 2 || state.edition === keptEdition;

function keepSoon(pause = KEEP_AFTER) {
  clearTimeout(keepTimer);
  if (!isKept()) keepTimer = setTimeout(keepNow, pause);
}

async function keepNow() {
  clearTimeout(keepTimer);
  if (keeping || isKept() || token === null) return;
  keeping = true;
  let pause = KEEP_AFTER;
  try {
    const {edition, content, photograph} = await ask('work', {photograph: keptPhotograph});
    if (forgotten) return;
    if (photograph && photograph !== keptPhotograph) {  // with it now, and the work without it in a moment
      await inKeeping('readwrite', store => store.put(content, besideKey()));
      keptPhotograph = photograph;
    } else {
      await inKeeping('readwrite', store => store.put(content, network.id));
      keptEdition = edition;
      part('kept').textContent = 'Kept in this browser';
    }
  } catch (error) {
    part('kept').textContent = 'Not kept: save before you leave';
    pause = 10 * KEEP_AFTER;
  } finally {
    keeping = false;
  }
  keepSoon(pause);
}

// The kept work into a session that has none. What cannot be taken back stays where it is until there is other work.
async function takeBack() {
  const content = await inKeeping('readonly', store => store.get(network.id)).catch(() => undefined);
  if (!content) return;
  const photograph = await inKeeping('readonly', store => store.get(besideKey())) ?? null;
  show(await ask('open_file', {name: 'your work', content, photograph, steps: true}));
  await drawRegionsOfState();
  keptPhotograph = state.photograph ?? '';
  keptEdition = state.edition;
  part('kept').textContent = 'Kept in this browser';
  announce('Your work is back');
}

// Nothing of it can be taken back afterwards: the dialog has asked.
async function startAnew() {
  forgotten = true;
  await inKeeping('readwrite', store => { store.delete(besideKey()); return store.delete(network.id); })
    .catch(() => undefined);
  keptEdition = state.edition;
  clearTimeout(keepTimer);
  remember(TOKEN, '');
  location.reload();
}

function listenToLeaving() {
  addEventListener('beforeunload', event => {
    if (!isKept() && root.dataset.ready !== 'stopped') {
      event.preventDefault();
      event.returnValue = true;  // for browsers from before 2023
    }
  });
  addEventListener('visibilitychange', () => { if (document.hidden) keepNow(); });
  addEventListener('pagehide', leave);
  addEventListener('pageshow', event => { if (event.persisted) pollSoon(); });
}

// gradio's own calls end with the page; this one does not.
function leave() {
  const {root: prefix = '', api_prefix: api = '/gradio_api', components = []} = window.gradio_config ?? {};
  const id = components.find(component => component.type === 'html')?.id;
  const body = {data: {action: 'leave', token}, fn_name: 'call', component_id: id, session_hash: 'leaving'};
  fetch(`${prefix}${api}/component_server/`, {
    method: 'POST', keepalive: true, headers: {'Content-Type': 'application/json'}, body: JSON.stringify(body),
  }).catch(() => undefined);
}
