import { readOptions, wholeNumber } from '../options.ts'

const HELP = `Takes an aggregate of the most pieces through the services' own functions, on an AWS in memory.

  npm run scale -- [options]

  --pieces N       pieces that an agent offers, until all have the receipt of filecoin/accept; 0: none (default: 95000)
  --index N        hand-made pieces that the aggregator seals and issues receipts for; 0: none (default: 262144)
  --rate N         write units that one partition key takes per second (default: 1000)
  --help           print this

Times of runs are simulated: calls take as long as on AWS, and the processor takes the time that this process measures. Exit
code 0 if all pieces ended well, no run failed, no message became a dead letter, and every function stayed within its timeout,
its memory and the payloads of AWS; 1 if not, 2 if an option is wrong. 10,000 offered pieces take about 3
minutes and 1.3 GB, 65,536 hand-made ones about the same and 1.7 GB.
`

const { pieces, index, rate } = readOptions({
  script: 'scale',
  help: HELP,
  options: {
    pieces: wholeNumber(0, 95_000).default(95_000),
    index: wholeNumber(0, 262_144).default(262_144),
    rate: wholeNumber(1, 100_000).default(1_000),
  },
})

// Loading the services takes a second, so wrong options are refused before it.
const { checkIndex, checkJourney } = await import('./checks.ts')

const failures: string[] = []
if (pieces > 0) failures.push(...(await checkJourney(pieces, rate, console.log)))
if (index > 0) failures.push(...(await checkIndex(index, rate, console.log)))
console.log(
  failures.length === 0 ? 'Nothing failed' : `FAILED:\n${failures.map(text => `  ${text}`).join('\n')}`,
)
process.exitCode = failures.length === 0 ? 0 : 1
