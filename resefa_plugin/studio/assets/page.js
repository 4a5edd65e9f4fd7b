// What the scripts of the page share: its parts by name, what is known of the session, and messages.
// They are one script, put together by page.py in its order; `element` and `server` come from gradio.
const root = element.querySelector('.studio');
const part = name => root.querySelector(`[data-part="${name}"]`);
const actionButton = name => root.querySelector(`[data-action="${name}"]`);

let token = null;  // of the session; null before it is open and after it has ended
let network = null;  // what does not change: the network, and the limits of what may be asked for
let state = null;  // the session, as the server last told it
let status = null;  // what is under way, likewise
let picker = null;  // the regions as they are drawn

// An error or a note that stays until it is dismissed; '' removes it.
function showNotice(text) {
  part('notice').hidden = !text;
  part('notice-text').textContent = text && text[0].toUpperCase() + text.slice(1);
}

// For those who do not see the page: a screen reader says it.
function announce(text) {
  part('announcement').textContent = text;
}

// `part3`, one of those that a network has itself, as people read it.
const shownName = name => name.replace(/^part(\d+)$/, 'part $1');

function makeButton(text, press) {
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = text;
  button.addEventListener('click', press);
  return button;
}
