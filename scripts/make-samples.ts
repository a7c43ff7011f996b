// Writes the files of samples/ and the table in samples/README.md. They are committed; this script documents their origin
// and reproduces them byte by byte with `npm run make-samples`.
import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { crc32, deflateSync, gzipSync } from 'node:zlib'
import { readOptions } from '../test/options.ts'

const HELP = `Writes the files of samples/ and the table in samples/README.md again; the bytes are the same in every run.

  npm run make-samples

  --help           print this
`

readOptions({ script: 'make-samples', help: HELP, options: {} })

const folder = new URL('../samples/', import.meta.url)

/** Returns a generator of pseudorandom numbers in [0, 1), the same in every run (mulberry32). */
function seedRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

function pick<T>(random: () => number, choices: readonly T[]): T {
  return choices[Math.floor(random() * choices.length)]!
}

const joinLines = (from: Iterable<string>): string => `${[...from].join('\n')}\n`
const countTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i)
const encodeU16le = (n: number): Buffer => Buffer.from([n & 0xff, (n >> 8) & 0xff])
const encodeU32le = (n: number): Buffer => Buffer.concat([encodeU16le(n & 0xffff), encodeU16le(n >>> 16)])
const encodeU32be = (n: number): Buffer => encodeU32le(n).reverse()

// Text

const letter = `The lighthouse, a Tuesday

Dear Ines,

you asked how one keeps a thing for a hundred years, and I have thought about it on the stairs, of which there are two
hundred and eleven, so there was time.

My grandfather kept the log of this light in ink, in books with oilcloth covers. He kept them in the driest room of the
tower. It was a good plan and it lasted until the winter when the roof of the driest room came off. What we have of
those years are the letters he wrote to his sister, who kept them in a biscuit tin three hundred kilometres from any
sea. He never thought of her kitchen as an archive.

So that is my first rule: not one place. Two copies under one roof are one copy with a good opinion of itself.

My second rule I owe to the clerk of the harbour office, who was proud of his cabinet. Nobody was allowed to open it,
so that nothing could be lost, and when they opened it at last the mice had been reading for years. A thing that nobody
looks at is not kept. It is only not yet known to be gone. You have to ask for it again and again, and the one who
keeps it has to show that it is there, and he must not be able to guess which page you will ask for.

My third rule is about names. The books were named by the year, and in two years there were two keepers, and each had a
book of that year, and each was right. If the name of a book had come from what is written in it, there would have been
two names. And had somebody changed a storm into a calm, the name would no longer have fitted the book, and a child could
have told.

The fourth rule is that keeping costs, every year anew, and that it is better to say so in the beginning and agree how it
is paid, and for how long, and what happens then. People are embarrassed to ask the end of an agreement. The sea is not.

The fifth is that you should be given a receipt. Not a kind word, of which the harbour office had plenty. A piece of paper
that says: this book, received on this day, by me, and here is my name; and then another, when it has been put where it is
kept; and if it cannot be kept, one that says so, soon, so that you can carry the book elsewhere before it rains.

I have no sixth rule. The light is lit at nine. Tonight there is a ring around the moon, and the fishermen stay in.

Come in spring, when the stairs are dry.

Your uncle
`

function writeLighthouseLog(): string {
  const random = seedRandom(1)
  const winds = ['north', 'north-east', 'east', 'south-east', 'south', 'south-west', 'west', 'north-west']
  const skies = [
    'Clear',
    'High cloud',
    'Overcast',
    'Rain since noon',
    'Fog until ten',
    'Showers',
    'Snow on the rail',
  ]
  const ships = [
    'the mail boat',
    'two trawlers',
    'a barque under tow',
    'the ferry, late',
    'nobody',
    'a yacht without lights',
  ]
  const chores = [
    'Trimmed the wick and cleaned the panes of the lantern.',
    'Wound the clockwork twice, the second time by hand as the weight had stuck.',
    'Painted the seaward door, which will want it again.',
    'Took stock of the oil: enough until the tender comes.',
    'Mended the hen house after the gale.',
    'Wrote to the office about the third step, again.',
    'Read. The book has a lighthouse in it, wrongly built.',
  ]
  function* days() {
    yield 'LOG OF THE LIGHT'
    let pressure = 1013
    for (const day of countTo(1461)) {
      pressure = Math.max(968, Math.min(1046, pressure + (random() - 0.5) * 14 + (1013 - pressure) * 0.1))
      const date = new Date(Date.UTC(1907, 0, 1 + day)).toISOString().slice(0, 10)
      yield ''
      yield `${date}. ${pick(random, skies)}. Wind ${pick(random, winds)}, force ${Math.floor(random() ** 2 * 11)}. ${pressure.toFixed(0)} hPa.`
      yield `Lit at ${16 + Math.round(2 + 2 * Math.cos((day / 365.25) * 2 * Math.PI + Math.PI))} h. Passed: ${pick(random, ships)}.`
      yield pick(random, chores)
    }
  }
  return joinLines(days())
}

const knots = `# A short guide to knots

For people who have a rope, a thing, and a second thing.

| knot | holds | comes undone | use it for |
|---|---|---|---|
| bowline | very well | easily, even after a load | a loop that must not slip: a mooring, a rescue |
| clove hitch | while it is loaded | too easily | a fender, a bucket, anything you watch |
| round turn and two half hitches | very well | under load | a boat to a ring |
| reef knot | a parcel, a sail | when you look away | never to join two ropes that carry a person |
| sheet bend | well | easily | two ropes of unlike thickness |
| figure of eight | very well | after some work | a stopper at the end of a rope |

## The bowline, in words

1. Make a small loop, the end on top. That is the *hole*.
2. The end is the *rabbit*: it comes up through the hole,
3. goes round behind the *tree* (the standing part),
4. and down the hole again.
5. Pull the tree and the rabbit apart.

Most bad bowlines come from the first step: with the end *below*, the rabbit has nowhere to go.

## What weakens a rope

- **Knots.** A rope with a knot carries between a half and three quarters of what it carried without.
- **Edges.** A sharp edge under load is a knife with patience.
- **Sun.** Three summers on deck cost nylon a fifth of its strength.
- **Sand.** It cuts from within, where you cannot see it.

\`\`\`
   ___
  /   \\        the loop
  \\   /
   \\ /_____
    X______    the standing part
   /
  /            the end
\`\`\`

> Learn three knots well. The fourth will be asked of you at night, in the rain, and it will be one of the three.
`

/** Computes a tide of four constituents, for every hour of a year. */
function writeTides(): string {
  const constituents = [
    { amplitude: 1.32, period: 12.4206, phase: 0.4 },
    { amplitude: 0.46, period: 12, phase: 1.9 },
    { amplitude: 0.27, period: 12.6583, phase: 2.2 },
    { amplitude: 0.11, period: 23.9345, phase: 0.7 },
  ]
  const rows = countTo(8784).map(hour => {
    const time = new Date(Date.UTC(2024, 0, 1, hour)).toISOString().slice(0, 16)
    const height = constituents.reduce(
      (sum, { amplitude, period, phase }) =>
        sum + amplitude * Math.cos((2 * Math.PI * hour) / period - phase),
      2.05,
    )
    return `${time}Z,${height.toFixed(3)},${height > 2.05 ? 'above' : 'below'}`
  })
  return joinLines(['time,height_m,mean_level', ...rows])
}

const places = [
  'Aldersund',
  'Brakke',
  'Cairnmouth',
  'Dunvik',
  'Elfort',
  'Faro Velho',
  'Grenna',
  'Holmsby',
  'Inverlea',
  'Jutnes',
]

function writeStations(): string {
  const random = seedRandom(2)
  const rows = countTo(90).map(n =>
    [
      `S${String(n + 1).padStart(3, '0')}`,
      `${pick(random, places)} ${pick(random, ['Harbour', 'Point', 'Bridge', 'Mill', 'Sands', 'Light'])}`,
      (48 + random() * 14).toFixed(4),
      (-9 + random() * 20).toFixed(4),
      1880 + Math.floor(random() * 130),
    ].join('\t'),
  )
  return joinLines(['id\tname\tlatitude\tlongitude\tsince', ...rows])
}

function writeInventory(): string {
  const random = seedRandom(3)
  const items = countTo(640).map(n => ({
    id: n + 1,
    name: `${pick(random, ['brass', 'oak', 'tin', 'blue', 'left-handed', 'spare', 'folding'])} ${pick(random, ['lantern', 'compass', 'bucket', 'chart', 'bell', 'pulley', 'kettle'])}`,
    quantity: Math.floor(random() * 40),
    price: { amount: Number((random() * 200).toFixed(2)), currency: pick(random, ['EUR', 'NOK', 'GBP']) },
    tags: [
      ...new Set(countTo(3).map(() => pick(random, ['deck', 'galley', 'tower', 'boat', 'winter', 'sold']))),
    ],
    checked: random() > 0.3,
    note: random() > 0.8 ? 'Ask the keeper. «Niemals fallen lassen» – не ронять – 落とさないこと' : null,
  }))
  return `${JSON.stringify({ warehouse: 'Pier 4', items }, null, 2)}\n`
}

function writeEvents(): string {
  const random = seedRandom(4)
  let time = Date.UTC(2024, 4, 1)
  const rows = countTo(9000).map(sequence => {
    time += Math.floor(-Math.log(1 - random()) * 9000)
    return JSON.stringify({
      sequence,
      time: new Date(time).toISOString(),
      kind: pick(random, ['opened', 'moved', 'moved', 'moved', 'closed', 'failed']),
      door: `${pick(random, places).toLowerCase().replace(' ', '-')}-${1 + Math.floor(random() * 8)}`,
      milliseconds: Number((20 + random() ** 4 * 3000).toFixed(1)),
      trace: countTo(4)
        .map(() =>
          Math.floor(random() * 2 ** 32)
            .toString(16)
            .padStart(8, '0'),
        )
        .join(''),
    })
  })
  return joinLines(rows)
}

const page = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>A garden by the sea</title>
    <link rel="stylesheet" href="garden.css">
    <script type="module" src="life.js"></script>
  </head>
  <body>
    <header>
      <h1>A garden by the sea</h1>
      <p>What grows in salt, wind and the shade of a tower.</p>
    </header>
    <main>
      <article id="sea-kale">
        <h2>Sea kale</h2>
        <p>Blanched under a bucket in March it tastes of hazelnut. Left alone it makes a cloud of white flowers that bees
          cross a bay for. <em>Crambe maritima</em> floats: its seeds have been to more countries than you.</p>
      </article>
      <article id="thrift">
        <h2>Thrift</h2>
        <p>Needs nothing and gives pink. It was on the threepenny piece, for the pun.</p>
      </article>
      <article id="tamarisk">
        <h2>Tamarisk</h2>
        <p>The hedge that lets half the wind through, which is why it still stands when the wall does not.</p>
      </article>
      <table>
        <caption>When to sow</caption>
        <thead><tr><th>plant</th><th>month</th><th>depth</th></tr></thead>
        <tbody>
          <tr><td>sea kale</td><td>October</td><td>25 mm</td></tr>
          <tr><td>thrift</td><td>April</td><td>on the surface</td></tr>
          <tr><td>horned poppy</td><td>May</td><td>5 mm</td></tr>
        </tbody>
      </table>
      <canvas width="256" height="256" aria-label="A world of cells, living and dying"></canvas>
    </main>
    <footer><p>Nothing here was watered today.</p></footer>
  </body>
</html>
`

const style = `:root {
  --sand: #efe6d2;
  --sea: #1f5673;
  --thrift: #d36b9b;
  color-scheme: light dark;
}

body {
  margin: 0 auto;
  max-width: 42rem;
  padding: 2rem 1rem;
  background: light-dark(var(--sand), #10202a);
  color: light-dark(#2b2a26, var(--sand));
  font: 1.05rem/1.6 Georgia, serif;
}

header {
  border-bottom: 3px double var(--sea);
}

h1,
h2 {
  color: var(--sea);
  font-weight: normal;
  letter-spacing: 0.02em;
}

article {
  display: grid;
  grid-template-columns: 8rem 1fr;
  gap: 0 1.5rem;
  margin-block: 1.5rem;
}

article h2 {
  margin: 0;
  text-align: right;
}

article#thrift h2 {
  color: var(--thrift);
}

table {
  width: 100%;
  border-collapse: collapse;
}

th,
td {
  padding: 0.3rem 0.6rem;
  border-bottom: 1px solid currentcolor;
  text-align: left;
}

canvas {
  display: block;
  margin: 2rem auto;
  image-rendering: pixelated;
}

footer {
  margin-top: 3rem;
  color: color-mix(in srgb, currentcolor 60%, transparent);
  font-style: italic;
}

@media (max-width: 30rem) {
  article {
    display: block;
  }

  article h2 {
    text-align: left;
  }
}
`

const script = `// Conway's game of life on a torus, for the canvas of garden.html.
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
`

const settings = `# Settings of an imaginary weather station.
title = "Aldersund Point"
started = 1907-01-01T00:00:00Z

[place]
latitude = 58.7342
longitude = 5.5861
height_m = 34.5

[lamp]
character = "Fl(2) W 15s"
range_nm = 19
on = { from = "sunset", to = "sunrise" }

[[sensor]]
name = "wind"
unit = "m/s"
every = "10s"
limits = [0, 75]

[[sensor]]
name = "pressure"
unit = "hPa"
every = "1m"
limits = [920, 1080]

[[sensor]]
name = "water"
unit = "m"
every = "6m"
limits = [-1.0, 6.0]
note = """
The float sticks at spring tides.
Tap the pipe before you believe it."""

[[sensor]]
name = "light"
unit = "lx"
every = "1m"
limits = [0, 120_000]
# The gulls sit on it.
trusted = false

[[sensor]]
name = "fog"
unit = "m"
every = "1m"
limits = [0, 40_000]
horn = { below = 1000, blasts = 2, every = "30s" }

[keeper]
name = "I. Holm"
since = 1988-03-01
relief = ["T. Vale", "R. Brandt"]
stairs = 211
speaks = { english = "well", portuguese = "slowly", gull = "enough" }

[report]
to = ["harbour", "ferry", "school"]
at = [06:00:00, 12:00:00, 18:00:00]
retain_days = 36525
`

function writeCatalogue(): string {
  const random = seedRandom(5)
  const books = countTo(380).map(n => {
    const title = `${pick(random, ['The', 'A', 'On the', 'Against the', 'Notes on the'])} ${pick(random, ['Quiet', 'Second', 'Drowned', 'Northern', 'Patient', 'Borrowed'])} ${pick(random, ['Harbour', 'Clock', 'Winter', 'Map', 'Tide', 'Ladder', 'Orchard'])}`
    return `  <book id="b${n + 1}" lang="${pick(random, ['en', 'no', 'pt', 'de'])}">
    <title>${title}</title>
    <author>${pick(random, ['M.', 'A.', 'I.', 'T.', 'R.'])} ${pick(random, ['Holm', 'Vale', 'Åsen', 'Correia', 'Brandt', "O'Neill"])}</author>
    <year>${1850 + Math.floor(random() * 170)}</year>
    <shelf row="${1 + Math.floor(random() * 12)}" side="${pick(random, ['left', 'right'])}"/>
  </book>`
  })
  return joinLines([
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<catalogue name="Library of the tower">',
    ...books,
    '</catalogue>',
  ])
}

/** Draws the curve of a pen on a gear that rolls inside of a ring, until the curve closes. */
function* spirograph(ring: number, gear: number, pen: number, points: number): Iterable<[number, number]> {
  const divisor = (a: number, b: number): number => (b === 0 ? a : divisor(b, a % b))
  const turns = gear / divisor(ring, gear)
  for (const i of countTo(points + 1)) {
    const t = (i / points) * 2 * Math.PI * turns
    const inner = ((ring - gear) / gear) * t
    yield [
      (ring - gear) * Math.cos(t) + pen * Math.cos(inner),
      (ring - gear) * Math.sin(t) - pen * Math.sin(inner),
    ]
  }
}

function drawRosette(): string {
  const paths = countTo(7).map(n => {
    const points = [...spirograph(360, 100 + 4 * n, 40 + 10 * n, 1200)]
    const path = points.map(([x, y], i) => `${i === 0 ? 'M' : 'L'}${x.toFixed(1)} ${y.toFixed(1)}`).join('')
    return `  <path d="${path}Z" stroke="hsl(${180 + n * 24} 60% 45%)"/>`
  })
  return joinLines([
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="-400 -400 800 800" width="800" height="800">',
    '  <title>Rosette</title>',
    '  <rect x="-400" y="-400" width="800" height="800" fill="#fbf8f0"/>',
    '  <g fill="none" stroke-width="0.7">',
    ...paths,
    '  </g>',
    '</svg>',
  ])
}

function writeVoyage(): string {
  const random = seedRandom(6)
  let [longitude, latitude, course] = [-9.14, 38.7, 5.6]
  const track = countTo(1400).map(() => {
    course += (random() - 0.5) * 0.4 + (5.4 - course) * 0.02
    longitude += Math.cos(course) * 0.02
    latitude += Math.sin(course) * 0.015
    return [Number(longitude.toFixed(5)), Number(latitude.toFixed(5))]
  })
  return `${JSON.stringify({
    type: 'FeatureCollection',
    features: [
      {
        type: 'Feature',
        properties: { name: 'Track of the sloop' },
        geometry: { type: 'LineString', coordinates: track },
      },
      ...countTo(7).map(n => ({
        type: 'Feature',
        properties: { name: `Noon of day ${n + 1}` },
        geometry: { type: 'Point', coordinates: track[n * 200] },
      })),
    ],
  })}\n`
}

/** Models a tube around a torus knot, as a Wavefront mesh. */
function modelKnot(): string {
  const [rings, sides] = [360, 16]
  const centre = (t: number): [number, number, number] => {
    const r = 2 + Math.cos(3 * t)
    return [r * Math.cos(2 * t), r * Math.sin(2 * t), -Math.sin(3 * t)]
  }
  const rows = ['# A tube around a (2, 3) torus knot', 'o knot']
  for (const i of countTo(rings)) {
    const t = (i / rings) * 2 * Math.PI
    const [x, y, z] = centre(t)
    for (const k of countTo(sides)) {
      const a = (k / sides) * 2 * Math.PI
      const out = 0.35 * Math.cos(a)
      rows.push(
        `v ${[x + out * Math.cos(2 * t), y + out * Math.sin(2 * t), z + 0.35 * Math.sin(a)].map(n => n.toFixed(4)).join(' ')}`,
      )
    }
  }
  const vertex = (ring: number, side: number) => (ring % rings) * sides + (side % sides) + 1
  for (const i of countTo(rings)) {
    for (const k of countTo(sides)) {
      rows.push(`f ${vertex(i, k)} ${vertex(i + 1, k)} ${vertex(i + 1, k + 1)} ${vertex(i, k + 1)}`)
    }
  }
  return joinLines(rows)
}

// Pictures

type Colour = readonly [red: number, green: number, blue: number]
type Picture = { width: number; height: number; at: (x: number, y: number) => Colour }

const mixChannel = (from: number, to: number, share: number): number => Math.round(from + (to - from) * share)
const mix = (from: Colour, to: Colour, share: number): Colour => [
  mixChannel(from[0], to[0], share),
  mixChannel(from[1], to[1], share),
  mixChannel(from[2], to[2], share),
]

/** A picture of a Julia set, in the colours of a shell. */
const julia: Picture = {
  width: 1280,
  height: 800,
  at(px, py) {
    let [x, y] = [(px - 640) / 420, (py - 400) / 420]
    for (let i = 0; i < 220; i++) {
      const [x2, y2] = [x * x, y * y]
      if (x2 + y2 > 64) {
        const smooth = i + 1 - Math.log2(Math.log2(x2 + y2) / 2)
        const share = 0.5 + 0.5 * Math.sin(0.35 * smooth)
        return mix([18, 44, 66], [246, 226, 190], Math.min(1, share * (0.3 + smooth / 60)))
      }
      y = 2 * x * y + 0.1889
      x = x2 - y2 - 0.7885
    }
    return [120, 40, 60]
  },
}

/** Creates smooth noise: random heights at whole coordinates, and interpolated heights between them. */
function createTerrain(seed: number): (x: number, y: number) => number {
  const heights = new Float64Array(256 * 256).map(seedRandom(seed))
  const corner = (x: number, y: number) => heights[((y & 255) << 8) | (x & 255)]!
  const ease = (t: number) => t * t * (3 - 2 * t)
  const layer = (x: number, y: number) => {
    const [ix, iy] = [Math.floor(x), Math.floor(y)]
    const [fx, fy] = [ease(x - ix), ease(y - iy)]
    const top = corner(ix, iy) * (1 - fx) + corner(ix + 1, iy) * fx
    const bottom = corner(ix, iy + 1) * (1 - fx) + corner(ix + 1, iy + 1) * fx
    return top * (1 - fy) + bottom * fy
  }
  return (x, y) => [1, 2, 4, 8, 16].reduce((sum, f) => sum + layer(x * f, y * f) / f, 0) / 1.94
}

/** Draws an island from above. */
function drawIsland(width: number, height: number): Picture {
  const heightAt = createTerrain(7)
  return {
    width,
    height,
    at(x, y) {
      const centre = Math.hypot(x / width - 0.5, y / height - 0.5)
      const level = heightAt((x / width) * 5, (y / height) * 5) - centre * 0.9
      if (level < 0.2) return mix([16, 52, 88], [44, 120, 150], Math.max(0, level + 0.3) * 2)
      if (level < 0.23) return [226, 208, 160]
      return mix([92, 138, 72], [236, 236, 230], Math.min(1, (level - 0.23) * 2.2))
    },
  }
}

/** Draws contour lines, as on a map. */
function drawContours(width: number, height: number): Picture {
  const heightAt = createTerrain(8)
  return {
    width,
    height,
    at(x, y) {
      const level = heightAt(x / 110, y / 110) * 24
      const line = Math.abs(level - Math.round(level)) < 0.06 + (Math.round(level) % 5 === 0 ? 0.05 : 0)
      return line ? [140, 96, 60] : mix([232, 240, 222], [250, 244, 230], heightAt(x / 60, y / 60))
    },
  }
}

function encodePng({ width, height, at }: Picture): Buffer {
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type), data])
    return Buffer.concat([encodeU32be(data.length), body, encodeU32be(crc32(body))])
  }
  const rows = Buffer.alloc(height * (1 + width * 3))
  for (const y of countTo(height)) {
    const row = y * (1 + width * 3)
    rows[row] = 1 // filter type 1: each byte is the difference from the same colour of the pixel to its left
    let left: Colour = [0, 0, 0]
    for (const x of countTo(width)) {
      const colour = at(x, y)
      for (const i of [0, 1, 2]) rows[row + 1 + x * 3 + i] = (colour[i]! - left[i]!) & 0xff
      left = colour
    }
  }
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk('IHDR', Buffer.concat([encodeU32be(width), encodeU32be(height), Buffer.from([8, 2, 0, 0, 0])])),
    chunk('IDAT', deflateSync(rows, { level: 9 })),
    chunk('IEND', Buffer.alloc(0)),
  ])
}

/** Encodes a picture as BMP: 24 bits per pixel, rows from the bottom up, each padded to a multiple of four bytes. */
function encodeBmp({ width, height, at }: Picture): Buffer {
  const row = Math.ceil((width * 3) / 4) * 4
  const pixels = Buffer.alloc(row * height)
  for (const y of countTo(height)) {
    for (const x of countTo(width)) pixels.set([...at(x, height - 1 - y)].reverse(), y * row + x * 3)
  }
  const [header, resolution] = [54, encodeU32le(2835)]
  return Buffer.concat([
    Buffer.from('BM'),
    ...[header + pixels.length, 0, header, 40, width, height].map(encodeU32le),
    ...[1, 24].map(encodeU16le),
    ...[0, pixels.length].map(encodeU32le),
    resolution,
    resolution,
    ...[0, 0].map(encodeU32le),
    pixels,
  ])
}

/** Compresses with the LZW of GIF: codes of growing width, packed from the low bit up. */
function compressLzw(pixels: Uint8Array, bits: number): Buffer {
  const [clear, end] = [1 << bits, (1 << bits) + 1]
  const out: number[] = []
  let [pending, filled] = [0, 0]
  let [width, next] = [bits + 1, end + 1]
  let codes = new Map<number, number>()
  const put = (code: number) => {
    pending |= code << filled
    for (filled += width; filled >= 8; filled -= 8) {
      out.push(pending & 0xff)
      pending >>>= 8
    }
  }
  put(clear)
  let prefix = pixels[0]!
  for (const pixel of pixels.subarray(1)) {
    const key = (prefix << 8) | pixel
    const known = codes.get(key)
    if (known !== undefined) {
      prefix = known
      continue
    }
    put(prefix)
    if (next < 4096) {
      if (next === 1 << width) width++
      codes.set(key, next++)
    } else {
      put(clear)
      codes = new Map()
      width = bits + 1
      next = end + 1
    }
    prefix = pixel
  }
  put(prefix)
  put(end)
  out.push(pending & 0xff)
  return Buffer.from(out)
}

/** Encodes a run of the game of life as an animated GIF. */
function filmLife(): Buffer {
  const [size, frames] = [160, 40]
  const random = seedRandom(9)
  let cells = Uint8Array.from({ length: size * size }, () => (random() < 0.3 ? 1 : 0))
  const film = countTo(frames).flatMap(() => {
    const data = compressLzw(cells, 2)
    const blocks = countTo(Math.ceil(data.length / 255)).flatMap(i => {
      const block = data.subarray(i * 255, i * 255 + 255)
      return [Buffer.from([block.length]), block]
    })
    cells = cells.map((alive, at) => {
      const [x, y] = [at % size, Math.floor(at / size)]
      let around = -alive
      for (const dy of [-1, 0, 1]) {
        for (const dx of [-1, 0, 1])
          around += cells[((y + dy + size) % size) * size + ((x + dx + size) % size)]!
      }
      return around === 3 || (alive && around === 2) ? 1 : 0
    })
    const control = Buffer.from([0x21, 0xf9, 4, 0, 8, 0, 0, 0])
    const descriptor = Buffer.concat([
      Buffer.from([0x2c]),
      ...[0, 0, size, size].map(encodeU16le),
      Buffer.from([0, 2]),
    ])
    return [control, descriptor, ...blocks, Buffer.from([0])]
  })
  const palette = Buffer.from([239, 230, 210, 31, 86, 115, 0, 0, 0, 0, 0, 0])
  const forever = Buffer.concat([
    Buffer.from([0x21, 0xff, 11]),
    Buffer.from('NETSCAPE2.0'),
    Buffer.from([3, 1, 0, 0, 0]),
  ])
  return Buffer.concat([
    Buffer.from('GIF89a'),
    ...[size, size].map(encodeU16le),
    Buffer.from([0x91, 0, 0]),
    palette,
    forever,
    ...film,
    Buffer.from([0x3b]),
  ])
}

// Sound

function encodeWav(
  rate: number,
  channels: number,
  seconds: number,
  sound: (time: number, channel: number) => number,
): Buffer {
  const samples = Buffer.alloc(rate * seconds * channels * 2)
  for (const frame of countTo(rate * seconds)) {
    for (const channel of countTo(channels)) {
      const level = Math.max(-1, Math.min(1, sound(frame / rate, channel)))
      samples.writeInt16LE(Math.round(level * 32767), (frame * channels + channel) * 2)
    }
  }
  return Buffer.concat([
    Buffer.from('RIFF'),
    encodeU32le(36 + samples.length),
    Buffer.from('WAVEfmt '),
    encodeU32le(16),
    ...[1, channels].map(encodeU16le),
    ...[rate, rate * channels * 2].map(encodeU32le),
    ...[channels * 2, 16].map(encodeU16le),
    Buffer.from('data'),
    encodeU32le(samples.length),
    samples,
  ])
}

/** Samples a major chord that swells and fades. Its notes are slightly detuned between the two channels. */
const sampleChord = (time: number, channel: number) =>
  [220, 277.18, 329.63, 440].reduce((sum, hertz, i) => {
    const detuned = hertz * (1 + (channel - 0.5) * 0.0015 * (i + 1))
    const swell = Math.sin((Math.PI * time) / 12) * (0.6 + 0.4 * Math.sin(time * (1 + i * 0.3)))
    return (
      sum +
      0.18 * swell * (Math.sin(2 * Math.PI * detuned * time) + 0.3 * Math.sin(4 * Math.PI * detuned * time))
    )
  }, 0)

/** Samples a bell. Its partials are not multiples of one tone, and the high ones fade first. */
const sampleBell = (time: number) =>
  [0.56, 0.92, 1.19, 1.71, 2, 2.74, 3, 3.76].reduce(
    (sum, partial, i) =>
      sum + 0.16 * Math.exp(-time * (1 + i * 0.9)) * Math.sin(2 * Math.PI * 330 * partial * time),
    0,
  )

/** Encodes sixteen bars for a harp as MIDI, the second half an octave higher. */
function encodeMidi(): Buffer {
  const scale = [0, 2, 4, 7, 9, 12, 16, 12]
  const notes = countTo(16).flatMap(bar =>
    scale.map(step => 45 + (bar < 8 ? 0 : 12) + step + [0, 5, -3, 2, 0, 7, -5, 0][bar % 8]!),
  )
  const track = Buffer.from([
    ...[0x00, 0xff, 0x51, 3, 0x07, 0xa1, 0x20], // 120 beats per minute
    ...[0x00, 0xc0, 46], // a harp
    ...notes.flatMap((note, i) => [0x00, 0x90, note, 70 + (i % 8) * 4, 0x60, 0x80, note, 0]),
    ...[0x00, 0xff, 0x2f, 0],
  ])
  const header = Buffer.from([0, 0, 0, 6, 0, 0, 0, 1, 0, 0xc0])
  return Buffer.concat([Buffer.from('MThd'), header, Buffer.from('MTrk'), encodeU32be(track.length), track])
}

// Documents and programs

function encodePdf(): Buffer {
  const curve = [...spirograph(150, 63, 48, 1260)].map(
    ([x, y], i) => `${(297 + x).toFixed(1)} ${(330 + y).toFixed(1)} ${i === 0 ? 'm' : 'l'}`,
  )
  const drawing = [
    'BT /F1 26 Tf 72 740 Td (One line, drawn without lifting the pen) Tj ET',
    'BT /F1 12 Tf 72 712 Td (A gear of 63 teeth rolls within a ring of 150; after 21 turns it is home again.) Tj ET',
    '0.12 0.34 0.45 RG 0.8 w',
    ...curve,
    's',
  ].join('\n')
  const objects = [
    '<< /Type /Catalog /Pages 2 0 R >>',
    '<< /Type /Pages /Kids [3 0 R] /Count 1 >>',
    '<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 4 0 R >> >> /Contents 5 0 R >>',
    '<< /Type /Font /Subtype /Type1 /BaseFont /Times-Roman >>',
    `<< /Length ${drawing.length} >>\nstream\n${drawing}\nendstream`,
  ]
  let document = '%PDF-1.4\n'
  const offsets = objects.map((object, i) => {
    const offset = document.length
    document += `${i + 1} 0 obj\n${object}\nendobj\n`
    return String(offset).padStart(10, '0')
  })
  const table = [
    `xref\n0 ${objects.length + 1}`,
    '0000000000 65535 f ',
    ...offsets.map(offset => `${offset} 00000 n `),
  ]
  const end = `trailer\n<< /Size ${objects.length + 1} /Root 1 0 R >>\nstartxref\n${document.length}\n%%EOF\n`
  return Buffer.from(`${document}${table.join('\n')}\n${end}`)
}

function encodeLeb128(n: number): number[] {
  return n < 0x80 ? [n] : [(n & 0x7f) | 0x80, ...encodeLeb128(n >>> 7)]
}

/** Encodes a module with the function `add(a, b)` and the primes below 65,536 in its memory. */
function encodeWasm(): Buffer {
  const primes = countTo(65536).filter(
    n => n > 1 && countTo(Math.floor(Math.sqrt(n)) + 1).every(d => d < 2 || n % d !== 0),
  )
  const table = Buffer.concat(primes.map(encodeU16le))
  const section = (id: number, content: number[]) => [id, ...encodeLeb128(content.length), ...content]
  const name = (text: string) => [text.length, ...Buffer.from(text)]
  return Buffer.from([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(1, [1, 0x60, 2, 0x7f, 0x7f, 1, 0x7f]), // one type: (i32, i32) -> i32
    ...section(3, [1, 0]),
    ...section(5, [1, 0x00, 1]), // a page of memory
    ...section(7, [2, ...name('add'), 0x00, 0, ...name('primes'), 0x02, 0]),
    ...section(10, [1, 7, 0, 0x20, 0, 0x20, 1, 0x6a, 0x0b]),
    ...section(11, [1, 0, 0x41, 0, 0x0b, ...encodeLeb128(table.length), ...table]),
  ])
}

// Containers of other files

type Entry = { name: string; data: Buffer }

function packZip(entries: Entry[]): Buffer {
  const midnight = [0, (44 << 9) | (1 << 5) | 1] // 1 January 2024 as MS-DOS writes it
  const parts: Buffer[] = []
  const directory: Buffer[] = []
  let offset = 0
  for (const { name, data } of entries) {
    const packed = deflateSync(data, { level: 9 }).subarray(2, -4) // without the header and checksum of zlib
    const about = Buffer.concat([
      ...[20, 0, 8, ...midnight].map(encodeU16le),
      ...[crc32(data), packed.length, data.length].map(encodeU32le),
      ...[name.length, 0].map(encodeU16le),
    ])
    const local = Buffer.concat([encodeU32le(0x04034b50), about, Buffer.from(name), packed])
    directory.push(
      encodeU32le(0x02014b50),
      encodeU16le(20),
      about,
      ...[0, 0, 0].map(encodeU16le),
      encodeU32le(0),
      encodeU32le(offset),
      Buffer.from(name),
    )
    parts.push(local)
    offset += local.length
  }
  const central = Buffer.concat(directory)
  return Buffer.concat([
    ...parts,
    central,
    encodeU32le(0x06054b50),
    ...[0, 0, entries.length, entries.length].map(encodeU16le),
    ...[central.length, offset].map(encodeU32le),
    encodeU16le(0),
  ])
}

function packTar(entries: Entry[]): Buffer {
  const blocks = entries.flatMap(({ name, data }) => {
    const header = Buffer.alloc(512)
    const octal = (n: number, digits: number) => n.toString(8).padStart(digits, '0')
    header.write(name, 0)
    header.write(octal(0o644, 7), 100)
    header.write(octal(0, 7), 108)
    header.write(octal(0, 7), 116)
    header.write(octal(data.length, 11), 124)
    header.write(octal(Date.UTC(2024, 0, 1) / 1000, 11), 136)
    header.write(' '.repeat(8), 148)
    header.write('0', 156)
    header.write('ustar\x0000', 257)
    header.write(
      `${octal(
        header.reduce((sum, byte) => sum + byte, 0),
        6,
      )}\0 `,
      148,
    )
    return [header, data, Buffer.alloc((512 - (data.length % 512)) % 512)]
  })
  return Buffer.concat([...blocks, Buffer.alloc(1024)])
}

/** Packs a content-addressed archive (CARv1): a CBOR root block with links to the blocks of a file, and the blocks. */
function packCar(data: Buffer, blockSize: number): Buffer {
  const cid = (codec: number, block: Buffer) =>
    Buffer.concat([Buffer.from([1, codec, 0x12, 32]), createHash('sha256').update(block).digest()])
  const link = (of: Buffer) => Buffer.concat([Buffer.from([0xd8, 42, 0x58, of.length + 1, 0]), of])
  const entry = (...parts: Buffer[]) => {
    const body = Buffer.concat(parts)
    return Buffer.concat([Buffer.from(encodeLeb128(body.length)), body])
  }
  const raw = countTo(Math.ceil(data.length / blockSize)).map(i =>
    data.subarray(i * blockSize, (i + 1) * blockSize),
  )
  const links = raw.map(block => link(cid(0x55, block)))
  const root = Buffer.concat([Buffer.from([0x98, links.length]), ...links]) // a CBOR array of 24 to 255 links
  const header = Buffer.concat([
    Buffer.from([0xa2, 0x65, ...Buffer.from('roots'), 0x81]),
    link(cid(0x71, root)),
    Buffer.from([0x67, ...Buffer.from('version'), 1]),
  ])
  return Buffer.concat([
    entry(header),
    entry(cid(0x71, root), root),
    ...raw.map(block => entry(cid(0x55, block), block)),
  ])
}

function makeNoise(seed: number, length: number): Buffer {
  const random = seedRandom(seed)
  return Buffer.from(countTo(length).map(() => Math.floor(random() * 256)))
}

// All samples

const text = {
  'letter.txt': ['a letter about keeping things', letter],
  'lighthouse-log.txt': ['four years of a keeper’s log', writeLighthouseLog()],
  'knots.md': ['Markdown', knots],
  'tides.csv': ['a year of tides, hour by hour', writeTides()],
  'stations.tsv': ['tab-separated table', writeStations()],
  'inventory.json': ['JSON, with text in several scripts', writeInventory()],
  'events.ndjson': ['one JSON object a line', writeEvents()],
  'garden.html': ['web page', page],
  'garden.css': ['style sheet of that page', style],
  'life.js': ['script of that page', script],
  'settings.toml': ['TOML', settings],
  'catalogue.xml': ['XML', writeCatalogue()],
  'rosette.svg': ['vector picture', drawRosette()],
  'voyage.geojson': ['a ship’s track', writeVoyage()],
  'knot.obj': ['3D mesh', modelKnot()],
} satisfies Record<string, [kind: string, content: string]>

const entries = (...names: (keyof typeof text)[]): Entry[] =>
  names.map(name => ({ name, data: Buffer.from(text[name][1]) }))

const binary = {
  'julia.png': ['picture, a Julia set', encodePng(julia)],
  'island.png': ['small picture, an island', encodePng(drawIsland(320, 200))],
  'contours.bmp': ['uncompressed picture, lines of height', encodeBmp(drawContours(640, 480))],
  'life.gif': ['film, the game of life', filmLife()],
  'chord.wav': ['sound, a chord in stereo', encodeWav(44100, 2, 12, sampleChord)],
  'bell.wav': ['sound, a bell', encodeWav(11025, 1, 3, sampleBell)],
  'harp.mid': ['notes for a harp', encodeMidi()],
  'drawing.pdf': ['document of one page', encodePdf()],
  'primes.wasm': ['WebAssembly module', encodeWasm()],
  'garden.zip': ['the web page, zipped', packZip(entries('garden.html', 'garden.css', 'life.js'))],
  'papers.tar': [
    'archive of five of the texts',
    packTar(entries('letter.txt', 'lighthouse-log.txt', 'knots.md', 'tides.csv', 'inventory.json')),
  ],
  'events.ndjson.gz': ['the events, gzipped', gzipSync(text['events.ndjson'][1], { level: 9 })],
  'log.car': [
    'the log as a content-addressed archive',
    packCar(Buffer.from(text['lighthouse-log.txt'][1]), 4096),
  ],
  'noise-1k.bin': ['noise, 1 KiB', makeNoise(10, 1024)],
  'noise-127k.bin': ['noise that fills a piece of 128 KiB to the last byte', makeNoise(11, 127 * 1024)],
  'noise-2m.bin': ['noise, a byte more than a piece of 2 MiB holds', makeNoise(12, 127 * 16384 + 1)],
} satisfies Record<string, [kind: string, content: Buffer]>

mkdirSync(folder, { recursive: true })
const files = Object.entries<readonly [string, string | Buffer]>({ ...text, ...binary }).sort(([a], [b]) =>
  a < b ? -1 : 1,
)
const rows = files.map(([name, [kind, content]]) => {
  const data = Buffer.from(content as Buffer)
  writeFileSync(new URL(name, folder), data)
  return { name, kind, bytes: data.length }
})
const total = rows.reduce((sum, { bytes }) => sum + bytes, 0)

writeFileSync(
  new URL('README.md', folder),
  joinLines([
    '# Samples',
    '',
    '`npm start` takes these files to a deal. They have many kinds and sizes, from about the minimum of a Filecoin piece to',
    'a few megabytes. [scripts/make-samples.ts](../scripts/make-samples.ts) generates all of them, including texts, pictures and',
    'sounds. They are dedicated to the public domain under [CC0 1.0](https://creativecommons.org/publicdomain/zero/1.0/): use them',
    'for any purpose.',
    '',
    '| file | contents | bytes | licence |',
    '|---|---|---:|---|',
    ...rows.map(
      ({ name, kind, bytes }) => `| [${name}](${name}) | ${kind} | ${bytes.toLocaleString('en')} | CC0 |`,
    ),
    '',
    `${rows.length} files, ${total.toLocaleString('en')} bytes.`,
  ]),
)
console.log(`${rows.length} files, ${(total / 2 ** 20).toFixed(1)} MiB in samples/`)
