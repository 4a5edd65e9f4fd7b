'use strict';
// A slider for each region: it flips through the pictures that the page shows below it.
for (const section of document.querySelectorAll('section.region')) {
  const viewer = section.querySelector('.viewer');
  const rows = [...section.querySelectorAll('.direction')];
  if (!viewer || !rows.length) continue;
  const slider = viewer.querySelector('input');
  const buttons = [...viewer.querySelectorAll('button')];
  const index = section.querySelector('.command .index');
  let chosen = 0;

  const show = () => {
    const row = rows[chosen];
    const step = Number(slider.value);
    for (const kind of ['near', 'far']) {
      const target = viewer.querySelector('.' + kind);
      const source = row.querySelectorAll('img.' + kind)[step];
      if (target && source) {
        target.src = source.src;
        target.alt = source.alt;
      }
    }
    const strength = row.querySelectorAll('figcaption')[step].textContent;
    viewer.querySelector('output').textContent = strength;
    slider.setAttribute('aria-valuetext', 'strength ' + strength);
    viewer.querySelector('.says').textContent = row.dataset.label;
    buttons.forEach((button, i) => button.setAttribute('aria-pressed', String(i === chosen)));
    if (index) index.textContent = String(chosen + 1);
  };

  slider.addEventListener('input', show);
  buttons.forEach((button, i) => button.addEventListener('click', () => { chosen = i; show(); }));
  rows.forEach((row, i) => row.querySelectorAll('.strip figure').forEach((figure, step) =>
    figure.addEventListener('click', () => { chosen = i; slider.value = step; show(); })));
  viewer.hidden = false;
  show();
}

// On paper everything is open.
let opened = [];
addEventListener('beforeprint', () => {
  opened = [...document.querySelectorAll('details:not([open])')];
  opened.forEach((details) => { details.open = true; });
});
addEventListener('afterprint', () => opened.forEach((details) => { details.open = false; }));
