// Asking the server, each action by its name (see actions.py), and showing what it answers.

// While one of these takes longer than a moment, a bar runs over the picture.
const SLOW_ACTIONS = new Set(['open', 'seed', 'upload', 'space', 'keep', 'heat', 'undo', 'render', 'download']);
let slowRequests = 0;

// The answer to an action; what the server refuses is an Error with its sentence.
async function ask(action, values = {}) {
  const countSlow = change => {
    if (SLOW_ACTIONS.has(action)) part('stage').classList.toggle('busy', (slowRequests += change) > 0);
  };
  let answer;
  countSlow(1);
  try {
    answer = await server.call({action, token, ...values});
  } catch (error) {
    answer = {error: 'the studio does not answer: is it still running?'};
  }
  countSlow(-1);
  if (answer.error) {
    if (answer.ended) endSession(answer.error);
    throw new Error(answer.error);
  }
  return answer;
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

function endSession(text) {
  token = null;
  root.dataset.ready = 'ended';
  showNotice(text);
}

// Shows whatever an answer holds: pictures, the state, what is under way, a note.
function show(answer) {
  if (answer.note) showNotice(answer.note);
  if (answer.original) pictures.original = answer.original;
  if (answer.picture) pictures.edited = answer.picture;
  if (answer.state) {
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
  actionButton('undo').disabled = !state.undo;
  part('keep-background').checked = state.keep;
  dropRemovedRegions();
  showRegions();
}
