// What is under way: the server is asked for it again and again, more often while there is something.

// Milliseconds from one answer to the next question.
const POLL_SOON = 150, POLL_BUSY = 350, POLL_HIDDEN = 2000, POLL_IDLE = 4000;
const SOON = 3000;  // milliseconds for which POLL_SOON holds, after something was asked for that is mostly quick
let soonUntil = 0, pollTimer = null, polling = false;

function showStatus() {
  for (const text of status.messages) showNotice(text);
  showJobs();
  const preparing = status.jobs.some(job => job.kind === 'prepare' || job.kind === 'photograph');
  actionButton('prepare').hidden = status.ready || status.direct || preparing;
  showHint();
  if (root.dataset.ready !== 'stopped') root.dataset.ready = status.ready || status.direct ? 'yes' : 'no';
}

// A row for each job. A row that is there already is changed and not replaced, so that its button keeps the focus.
function showJobs() {
  const list = part('jobs'), rows = new Map([...list.children].map(row => [Number(row.dataset.number), row]));
  for (const [number, row] of rows) if (!status.jobs.some(job => job.number === number)) row.remove();
  status.jobs.forEach((job, position) => {
    const row = rows.get(job.number) ?? makeJobRow(job), text = job.title + progressText(job);
    if (list.children[position] !== row) list.insertBefore(row, list.children[position] ?? null);
    const words = row.querySelector('span'), bar = row.querySelector('progress');
    if (words.textContent !== text) words.textContent = text;
    bar.max = job.total || 1;
    if (job.state === 'running' && job.total) bar.value = job.done;
    else bar.removeAttribute('value');
  });
}

function makeJobRow(job) {
  const row = document.createElement('div'), bar = document.createElement('progress');
  row.className = 'job';
  row.dataset.number = job.number;
  bar.setAttribute('aria-label', job.title);
  const cancel = makeButton('Cancel', () => attempt(async () => show(await ask('cancel', {number: job.number}))));
  cancel.className = 'plain';
  cancel.setAttribute('aria-label', `Cancel: ${job.title}`);
  row.append(document.createElement('span'), bar, cancel);
  return row;
}

async function prepareSample() {
  show(await ask('prepare'));
}

function progressText(job) {
  const {ahead, remaining} = job;
  if (job.state === 'queued') return ahead ? `: waits for ${ahead} ${ahead === 1 ? 'job' : 'jobs'}` : ': is next';
  return remaining === null ? ' \u2026' : `, ${duration(remaining)}`;
}

function duration(seconds) {
  if (seconds < 1.5) return 'a moment';
  if (seconds < 90) return `about ${Math.round(seconds)} s`;
  return `about ${Math.round(seconds / 60)} min`;
}

async function poll() {
  if (polling || root.dataset.ready === 'stopped') return;  // the question that is under way is followed by another
  polling = true;
  let pause = POLL_IDLE;
  if (token !== null) {
    try {
      const [edition, before] = [state.edition, changes];
      const answer = await ask('status', {version: state.version, likeness: likenessNumber});
      show(answer);
      showLikeness(answer.likeness);
      if (state.edition !== edition && changes === before && changes % 2 === 0) await lookAgain();
      pause = pollPause();
    } catch (error) {
      if (token !== null) showNotice(error.message);
    }
  }
  polling = false;
  pollAfter(pause);
}

// Another page of the same session, or a job, has changed what is on the screen.
async function lookAgain() {
  show(await ask('look'));
  leaveHeatMap();
  await drawRegionsOfState();
}

function pollAfter(milliseconds) {
  clearTimeout(pollTimer);
  pollTimer = setTimeout(poll, milliseconds);
}

function pollPause() {
  if (!status.jobs.length && !status.waiting.length) return POLL_IDLE;
  if (Date.now() < soonUntil) return POLL_SOON;
  return document.hidden ? POLL_HIDDEN : POLL_BUSY;
}

function pollSoon() {
  soonUntil = Date.now() + SOON;
  pollAfter(POLL_SOON);
}
