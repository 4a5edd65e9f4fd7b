// Regions as masks at the picture's own resolution, drawn with a box, a brush and an eraser. What the overlay shows is
// exactly what is sent: every mask pixel is fully in or fully out.
// `tell.needed()` is called before something is drawn while there is no region, `tell.drawn(name)` afterwards.
function makePicker(canvas, width, height, tell) {
  const regions = new Map();  // name -> {mask: canvas, protect, empty}
  let active = null, tool = 'box', filled = true, visible = true;
  let radius = 0.04;  // of brush and eraser, in longer sides of the picture
  let drag = null;  // while the pointer is down: {from, last, add, box}
  const colours = {change: '0, 98, 155', protect: '176, 92, 0'};

  function makeCanvas(w, h) {
    const made = document.createElement('canvas');
    made.width = w;
    made.height = h;
    return made;
  }

  function add(name, protect) {
    regions.set(name, {mask: makeCanvas(width, height), protect, empty: true});
    active = name;
    draw();
  }

  function activeRegion() {
    return active === null ? null : regions.get(active);
  }

  // The brush is smooth at its rim; half of a pixel decides.
  function makeBinary(region) {
    const context = region.mask.getContext('2d', {willReadFrequently: true});
    const pixels = context.getImageData(0, 0, width, height), data = pixels.data;
    region.empty = true;
    for (let i = 3; i < data.length; i += 4) {
      data[i] = data[i] >= 128 ? 255 : 0;
      if (data[i]) region.empty = false;
    }
    context.putImageData(pixels, 0, 0);
  }

  // The mask as a data URL: white on black, as the server reads masks.
  function maskUrl(name) {
    const picture = makeCanvas(width, height), context = picture.getContext('2d');
    context.fillStyle = '#000';
    context.fillRect(0, 0, width, height);
    context.drawImage(tinted(regions.get(name).mask, '#fff'), 0, 0);
    return picture.toDataURL('image/png');
  }

  // Draws a region as a mask of the server's, a data URL.
  async function setMask(name, source) {
    const image = new Image();
    image.src = source;
    await image.decode();
    const region = regions.get(name), context = region.mask.getContext('2d', {willReadFrequently: true});
    context.clearRect(0, 0, width, height);
    context.drawImage(image, 0, 0, width, height);
    const pixels = context.getImageData(0, 0, width, height), data = pixels.data;
    for (let i = 0; i < data.length; i += 4) data[i + 3] = data[i] >= 128 ? 255 : 0;
    context.putImageData(pixels, 0, 0);
    makeBinary(region);
    draw();
  }

  // Draws the box [x, y, width, height], in pixels of the picture; `add` keeps what is drawn already.
  function setBox(name, box, add) {
    const region = regions.get(name), context = region.mask.getContext('2d', {willReadFrequently: true});
    if (!add) context.clearRect(0, 0, width, height);
    context.fillStyle = '#000';
    context.fillRect(...box);
    makeBinary(region);
    draw();
  }

  function clear(name) {
    const region = regions.get(name);
    region.mask.getContext('2d').clearRect(0, 0, width, height);
    region.empty = true;
    draw();
  }

  // What is used of a region: its pixels but the protected ones.
  function used(name, w, h) {
    const made = makeCanvas(w, h), context = made.getContext('2d'), region = regions.get(name);
    context.imageSmoothingEnabled = false;
    context.drawImage(region.mask, 0, 0, w, h);
    if (!region.protect) {
      context.globalCompositeOperation = 'destination-out';
      for (const other of regions.values()) if (other.protect) context.drawImage(other.mask, 0, 0, w, h);
    }
    return made;
  }

  function tinted(mask, colour) {
    const made = makeCanvas(mask.width, mask.height), context = made.getContext('2d');
    context.drawImage(mask, 0, 0);
    context.globalCompositeOperation = 'source-in';
    context.fillStyle = colour;
    context.fillRect(0, 0, made.width, made.height);
    return made;
  }

  // A line around a mask, outside it: the mask moved to all sides, without the mask.
  function outline(mask, colour, thickness) {
    const made = makeCanvas(mask.width, mask.height), context = made.getContext('2d'), stamp = tinted(mask, colour);
    for (let turn = 0; turn < 12; turn++) {
      const angle = turn * Math.PI / 6;
      context.drawImage(stamp, thickness * Math.cos(angle), thickness * Math.sin(angle));
    }
    context.globalCompositeOperation = 'destination-out';
    context.drawImage(mask, 0, 0);
    return made;
  }

  function hatched(mask, colour) {
    const made = makeCanvas(mask.width, mask.height), context = made.getContext('2d');
    context.fillStyle = `rgba(${colour}, .25)`;
    context.fillRect(0, 0, made.width, made.height);
    context.strokeStyle = `rgb(${colour})`;
    context.lineWidth = 2 * devicePixelRatio;
    for (let x = -made.height; x < made.width; x += 10 * devicePixelRatio) {
      context.beginPath();
      context.moveTo(x, made.height);
      context.lineTo(x + made.height, 0);
      context.stroke();
    }
    context.globalCompositeOperation = 'destination-in';
    context.drawImage(mask, 0, 0);
    return made;
  }

  function draw() {
    const w = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
    const h = Math.max(1, Math.round(canvas.clientHeight * devicePixelRatio));
    if (canvas.width !== w) canvas.width = w;
    if (canvas.height !== h) canvas.height = h;
    const context = canvas.getContext('2d');
    context.clearRect(0, 0, w, h);
    if (!visible) return;
    for (const [name, region] of regions) {
      if (region.empty) continue;
      const mask = used(name, w, h), own = name === active, colour = colours[region.protect ? 'protect' : 'change'];
      if (region.protect) {
        context.globalAlpha = filled || !own ? 0.7 : 0.35;
        context.drawImage(hatched(mask, colour), 0, 0);
      } else if (own && filled) {
        context.globalAlpha = 0.22;
        context.drawImage(tinted(mask, `rgb(${colour})`), 0, 0);
      }
      context.globalAlpha = own ? 1 : 0.6;
      context.drawImage(outline(mask, 'rgba(20, 24, 28, .9)', 2.5 * devicePixelRatio), 0, 0);
      context.drawImage(outline(mask, own ? '#fff' : 'rgba(255, 255, 255, .7)', 1.3 * devicePixelRatio), 0, 0);
      context.globalAlpha = 1;
    }
    if (drag && drag.box) {
      const [x, y, bw, bh] = drag.box.map((value, i) => value * (i % 2 ? h / height : w / width));
      context.strokeStyle = '#fff';
      context.lineWidth = 2 * devicePixelRatio;
      context.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
      context.strokeRect(x, y, bw, bh);
      context.setLineDash([]);
    }
  }

  // Where the pointer is, in pixels of the picture, within it.
  function position(event) {
    const rectangle = canvas.getBoundingClientRect();
    const clamp = (value, top) => Math.min(top, Math.max(0, value));
    return [clamp((event.clientX - rectangle.left) / rectangle.width * width, width),
            clamp((event.clientY - rectangle.top) / rectangle.height * height, height)];
  }

  function stroke(from, to) {
    const region = activeRegion(), context = region.mask.getContext('2d', {willReadFrequently: true});
    context.globalCompositeOperation = tool === 'eraser' ? 'destination-out' : 'source-over';
    context.lineCap = context.lineJoin = 'round';
    context.strokeStyle = '#000';
    context.lineWidth = 2 * radius * Math.max(width, height);
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(to[0] + 1e-3, to[1]);
    context.stroke();
    context.globalCompositeOperation = 'source-over';
    region.empty = false;
    draw();
  }

  function boxOf(from, to) {
    const left = Math.floor(Math.min(from[0], to[0])), top = Math.floor(Math.min(from[1], to[1]));
    const right = Math.ceil(Math.max(from[0], to[0])), bottom = Math.ceil(Math.max(from[1], to[1]));
    return [left, top, right - left, bottom - top];
  }

  canvas.addEventListener('pointerdown', event => {
    if (event.button) return;
    if (active === null) tell.needed();
    canvas.setPointerCapture(event.pointerId);
    drag = {from: position(event), last: position(event), add: event.shiftKey, box: null};
    if (tool !== 'box') stroke(drag.last, drag.last);
    event.preventDefault();
    canvas.focus({preventScroll: true});
  });
  canvas.addEventListener('pointermove', event => {
    if (!drag) return;
    const to = position(event);
    if (tool === 'box') drag.box = boxOf(drag.from, to);
    else stroke(drag.last, to);
    drag.last = to;
    draw();
  });
  canvas.addEventListener('pointerup', () => {
    if (!drag) return;
    const done = drag;
    drag = null;
    if (tool === 'box') {
      if (!done.box || done.box[2] < 1 || done.box[3] < 1) return draw();
      setBox(active, done.box, done.add);
    } else makeBinary(activeRegion());
    draw();
    tell.drawn(active);
  });
  canvas.addEventListener('pointercancel', () => { drag = null; draw(); });
  new ResizeObserver(draw).observe(canvas);

  return {
    regions, add, maskUrl, setMask, setBox, clear, draw,
    get active() { return active; },
    set active(name) { active = name; draw(); },
    set tool(name) { tool = name; },
    set radius(value) { radius = value; },
    set filled(value) { filled = value; draw(); },
    set visible(value) { visible = value; draw(); },
    remove(name) { regions.delete(name); if (active === name) active = [...regions.keys()].pop() ?? null; draw(); },
    rename(name, to) {
      const entries = [...regions].map(([key, value]) => [key === name ? to : key, value]);
      regions.clear();
      for (const [key, value] of entries) regions.set(key, value);
      if (active === name) active = to;
    },
  };
}
