import { z } from 'zod'
import { readOptions, wholeNumber } from '../options.ts'

const HELP = `Takes an aggregate of the most pieces through the services' own functions, on an AWS in memory, or one of the largest size on
the engines of this machine.

  npm run scale -- [options]

  --pieces N       pieces that an agent offers, until all have the receipt of filecoin/accept; 0: none (default: 95000, with --whole 0)
  --index N        hand-made pieces that the aggregator seals and issues receipts for; 0: none (default: 262144, with --whole 0)
  --whole SIZE     an aggregate of 1GiB or of 32GiB that the dealer writes as a whole, and storage providers fetch (default: none)
  --rate N         write units that one partition key takes per second (default: 1000)
  --help           print this

Times of runs are simulated: calls take as long as on AWS, and the processor takes the time that this process measures. Exit
code 0 if all pieces ended well, no run failed, no message became a dead letter, and every function stayed within its timeout,
its memory and the payloads of AWS; 1 if not, 2 if an option is wrong. 10,000 offered pieces take about 3
minutes and 1.3 GB, 65,536 hand-made ones about the same and 1.7 GB.

With --whole, times are real. 1GiB is full of contents of 16 to 31 MiB and smaller ones, and goes to two providers with PDP: about a
minute and 4 GB of disk on two cores. 32GiB has some contents of a few MiB, and zeros behind them, and goes to a provider with
Curio: about 5 minutes and 50 MB of disk. The data are in the directory of the system for temporary files, and are removed.
`

const options = readOptions({
  script: 'scale',
  help: HELP,
  options: {
    pieces: wholeNumber(0, 95_000).optional(),
    index: wholeNumber(0, 262_144).optional(),
    whole: z.enum(['1GiB', '32GiB'], { error: 'must be 1GiB or 32GiB' }).optional(),
    rate: wholeNumber(1, 100_000).default(1_000),
  },
})

const { rate, whole } = options
const { pieces = whole ? 0 : 95_000, index = whole ? 0 : 262_144 } = options

// Loading the services takes a second, so wrong options are refused before it.
const { checkIndex, checkJourney, checkWhole } = await import('./checks.ts')
const { WHOLES } = await import('./whole.ts')

const failures: string[] = []
if (pieces > 0) failures.push(...(await checkJourney(pieces, rate, console.log)))
if (index > 0) failures.push(...(await checkIndex(index, rate, console.log)))
if (whole !== undefined) failures.push(...(await checkWhole(WHOLES[whole], console.log)))
console.log(
  failures.length === 0 ? 'Nothing failed' : `FAILED:\n${failures.map(text => `  ${text}`).join('\n')}`,
)
process.exitCode = failures.length === 0 ? 0 : 1
