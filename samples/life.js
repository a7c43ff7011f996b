// Conway's game of life on a torus, for the canvas of garden.html.
const size = 128
const canvas = document.querySelector('canvas')
const context = canvas.getContext('2d')
const image = context.createImageData(size, size)

let cells = Uint8Array.from({ length: size * size }, () => (Math.random() < 0.3 ? 1 : 0))

/** How many of the eight cells around (x, y) live; what leaves on one side comes in on the other. */
function neighbours(x, y) {
  let alive = 0
  for (let dy = -1; dy <= 1; dy++) {
    for (let dx = -1; dx <= 1; dx++) {
      if (dx === 0 && dy === 0) continue
      alive += cells[((y + dy + size) % size) * size + ((x + dx + size) % size)]
    }
  }
  return alive
}

function step() {
  cells = cells.map((alive, at) => {
    const around = neighbours(at % size, Math.floor(at / size))
    return around === 3 || (alive && around === 2) ? 1 : 0
  })
}

function draw() {
  for (let at = 0; at < cells.length; at++) {
    image.data.set(cells[at] ? [31, 86, 115, 255] : [239, 230, 210, 255], at * 4)
  }
  context.putImageData(image, 0, 0)
}

setInterval(() => {
  step()
  draw()
}, 120)
