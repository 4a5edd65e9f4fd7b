// Masks as canvases: opaque where a region is, transparent elsewhere.
function makeCanvas(width, height) {
  const made = document.createElement('canvas');
  made.width = width;
  made.height = height;
  return made;
}

// A mask in one colour.
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

// Stripes over a mask; `colour` as 'red, green, blue'.
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

// A brush is smooth at its rim; half of a pixel decides. Returns whether nothing is left.
function makeBinary(mask) {
  const context = mask.getContext('2d', {willReadFrequently: true});
  const pixels = context.getImageData(0, 0, mask.width, mask.height), data = pixels.data;
  let empty = true;
  for (let i = 3; i < data.length; i += 4) {
    data[i] = data[i] >= 128 ? 255 : 0;
    if (data[i]) empty = false;
  }
  context.putImageData(pixels, 0, 0);
  return empty;
}

// A mask as a data URL: white on black, as the server reads masks.
function maskAsUrl(mask) {
  const picture = makeCanvas(mask.width, mask.height), context = picture.getContext('2d');
  context.fillStyle = '#000';
  context.fillRect(0, 0, picture.width, picture.height);
  context.drawImage(tinted(mask, '#fff'), 0, 0);
  return picture.toDataURL('image/png');
}

// A mask of the server's, a data URL, drawn into `mask`; `add` keeps what is there.
async function drawMaskUrl(mask, source, add) {
  const image = new Image();
  image.src = source;
  await image.decode();
  const made = makeCanvas(mask.width, mask.height), context = made.getContext('2d', {willReadFrequently: true});
  context.drawImage(image, 0, 0, made.width, made.height);
  const pixels = context.getImageData(0, 0, made.width, made.height), data = pixels.data;
  for (let i = 0; i < data.length; i += 4) data[i + 3] = data[i] >= 128 ? 255 : 0;
  context.putImageData(pixels, 0, 0);
  const target = mask.getContext('2d', {willReadFrequently: true});
  if (!add) target.clearRect(0, 0, mask.width, mask.height);
  target.drawImage(made, 0, 0);
}
