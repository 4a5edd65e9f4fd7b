// Regions as masks at the picture's own resolution, drawn with a box, a brush and an eraser. What the overlay shows is
// exactly what is sent: every mask pixel is fully in or fully out. Places are [x, y] in pixels of the picture.
// `tell.needed()` is called before something is drawn while there is no region, `tell.drawn(name)` afterwards.
function makePicker(canvas, width, height, tell) {
  const regions = new Map();  // name -> {mask: canvas, protect, empty}
  let active = null, tool = 'box', filled = true, visible = true;
  let radius = 0.04;  // of brush and eraser, in longer sides of the picture
  let stroke = null;  // what is being drawn: {from, last, add, box, before}, the last the mask without it
  let cross = null;  // where the keyboard is
  let hint = null;  // a mask of any size that a click would take
  const colours = {change: '0, 98, 155', protect: '176, 92, 0'};

  function add(name, protect) {
    regions.set(name, {mask: makeCanvas(width, height), protect, empty: true});
    active = name;
    draw();
  }

  function changed(region) {
    region.empty = makeBinary(region.mask);
    draw();
  }

  async function setMask(name, source, keep) {
    await drawMaskUrl(regions.get(name).mask, source, keep);
    changed(regions.get(name));
  }

  // Draws the box [x, y, width, height]; `keep` keeps what is drawn already.
  function setBox(name, box, keep) {
    const region = regions.get(name), context = region.mask.getContext('2d', {willReadFrequently: true});
    if (!keep) context.clearRect(0, 0, width, height);
    context.fillStyle = '#000';
    context.fillRect(...box);
    changed(region);
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

  function draw() {
    const w = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
    const h = Math.max(1, Math.round(canvas.clientHeight * devicePixelRatio));
    if (canvas.width !== w) canvas.width = w;
    if (canvas.height !== h) canvas.height = h;
    const context = canvas.getContext('2d');
    context.clearRect(0, 0, w, h);
    if (visible) for (const [name, region] of regions) if (!region.empty) drawRegion(context, name, region, w, h);
    if (hint) {
      const mask = makeCanvas(w, h);
      mask.getContext('2d').drawImage(hint, 0, 0, w, h);
      context.drawImage(tinted(mask, 'rgba(255, 255, 255, .35)'), 0, 0);
      context.drawImage(outline(mask, '#fff', 1.5 * devicePixelRatio), 0, 0);
    }
    const [toX, toY] = [w / width, h / height];
    if (stroke && stroke.box) {
      const [x, y, bw, bh] = stroke.box;
      context.strokeStyle = '#fff';
      context.lineWidth = 2 * devicePixelRatio;
      context.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
      context.strokeRect(x * toX, y * toY, bw * toX, bh * toY);
      context.setLineDash([]);
    }
    if (cross) {
      for (const [colour, thickness] of [['rgba(20, 24, 28, .9)', 4], ['#fff', 2]]) {
        context.strokeStyle = colour;
        context.lineWidth = thickness * devicePixelRatio;
        context.beginPath();
        context.moveTo(cross[0] * toX, 0);
        context.lineTo(cross[0] * toX, h);
        context.moveTo(0, cross[1] * toY);
        context.lineTo(w, cross[1] * toY);
        context.stroke();
      }
    }
  }

  function drawRegion(context, name, region, w, h) {
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

  function paint(from, to) {
    const region = regions.get(active), context = region.mask.getContext('2d', {willReadFrequently: true});
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

  // A box or a stroke from its first place to its last; `keep` adds a box to what is drawn.
  function begin(place, keep) {
    if (active === null) tell.needed();
    stroke = {last: place, from: place, add: keep, box: null, before: null};
    if (tool === 'box') return;
    const {mask} = regions.get(active);
    stroke.before = makeCanvas(width, height);
    stroke.before.getContext('2d').drawImage(mask, 0, 0);
    paint(place, place);
  }

  function move(place) {
    if (!stroke) return;
    if (tool === 'box') stroke.box = boxOf(stroke.from, place);
    else paint(stroke.last, place);
    stroke.last = place;
    draw();
  }

  function end() {
    if (!stroke) return;
    const {box, add: keep} = stroke;
    stroke = null;
    if (tool !== 'box') changed(regions.get(active));
    else if (box && box[2] >= 1 && box[3] >= 1) setBox(active, box, keep);
    else return draw();
    tell.drawn(active);
  }

  // A box that is not done is none; what a brush has painted stays.
  function cancel() {
    if (stroke && tool !== 'box') return end();
    stroke = null;
    draw();
  }

  // As if nothing had been begun.
  function abandon() {
    const before = stroke?.before;
    stroke = null;
    if (!before) return draw();
    const region = regions.get(active), context = region.mask.getContext('2d', {willReadFrequently: true});
    context.clearRect(0, 0, width, height);
    context.drawImage(before, 0, 0);
    changed(region);
  }

  new ResizeObserver(draw).observe(canvas);

  return {
    regions, add, setMask, setBox, clear, draw, begin, move, end, cancel, abandon,
    maskUrl: name => maskAsUrl(regions.get(name).mask),
    get drawing() { return stroke !== null; },
    get active() { return active; },
    set active(name) { active = name; draw(); },
    get tool() { return tool; },
    set tool(name) { tool = name; },
    set radius(value) { radius = value; },
    set filled(value) { filled = value; draw(); },
    set visible(value) { visible = value; draw(); },
    set cross(place) { cross = place; draw(); },
    set hint(mask) { hint = mask; draw(); },
    remove(name) { regions.delete(name); if (active === name) active = [...regions.keys()].pop() ?? null; draw(); },
    rename(name, to) {
      const entries = [...regions].map(([key, value]) => [key === name ? to : key, value]);
      regions.clear();
      for (const [key, value] of entries) regions.set(key, value);
      if (active === name) active = to;
    },
  };
}
