// Asking the server, each action by its name (see actions.py), and showing what it answers.

// While one of these takes longer than a moment, a bar runs over the picture.
const SLOW_ACTIONS = new Set(['open', 'seed', 'open_file', 'space', 'keep', 'heat', 'go', 'render', 'download']);
const STOPPED = 'The studio has stopped. Start it again: this page goes on by itself.';
const KNOCK = 1500;  // milliseconds
let slowRequests = 0;
let changes = 0;  // counts what this page has asked for and been answered, but for how things stand

// The answer to an action; what the server refuses is an Error with its sentence.
async function ask(action, values = {}) {
  const countSlow = change => {
    if (SLOW_ACTIONS.has(action)) part('stage').classList.toggle('busy', (slowRequests += change) > 0);
  };
  countSlow(1);
  if (action !== 'status') changes++;
  const answer = await server.call({action, token, ...values}).catch(() => undefined);
  if (action !== 'status') changes++;
  countSlow(-1);
  if (typeof answer !== 'object') {  // gradio gives undefined, or a text of its own, where nobody has answered
    if (action !== 'status' && await serverIsThere()) throw new Error('the studio has refused this: is it too large?');
    waitForServer();
    throw new Error(STOPPED);
  }
  if (answer.error) {
    if (answer.ended) location.reload();  // the page takes its work back
    throw new Error(answer.error);
  }
  return answer;
}

const serverIsThere = () => fetch(location.pathname, {method: 'HEAD'}).then(answer => answer.ok, () => false);

// Asks until there is a server again, and then loads the page anew: the server may be another one by then.
async function waitForServer() {
  if (root.dataset.ready === 'stopped') return;
  root.dataset.ready = 'stopped';
  showNotice(STOPPED);
  while (!await serverIsThere()) await new Promise(resolve => setTimeout(resolve, KNOCK));
  location.reload();
}

// Does what a control is for; what goes wrong becomes a message on the page.
async function attempt(work) {
  try {
    showNotice('');
    return await work();
  } catch (error) {
    showNotice(error.message);
  }
}

// Shows whatever an answer holds: pictures, the state, what is under way, a note.
function show(answer) {
  if (answer.note) showNotice(answer.note);
  if (answer.original) pictures.original = answer.original;
  if (answer.picture) pictures.edited = answer.picture;
  if (answer.state && !(state && answer.state.version < state.version)) {
    const anotherSample = state && answer.state.sample.name !== state.sample.name;
    state = answer.state;
    takeStrengths();
    if (anotherSample) leaveHeatMap();
    showState();
  }
  if (answer.status) {
    status = answer.status;
    showStatus();
  }
  showPicture();
}

function showState() {
  showSample();
  showHistory();
  part('keep-background').checked = state.keep;
  dropRemovedRegions();
  showRegions();
  showEdits();
  markShownSample();
  keepSoon();
}
