import { readOptions, wholeNumber } from '../options.ts'

const HELP = `Shows that backlogs do not delay other work, on a stand-in for DynamoDB in simulated time.

  npm run bench:backlog -- [options]

  --waiting N      pieces that wait beside a lost message (default: 100000)
  --help           print this

A call takes 10 ms, and 1 ms of the only processor. Exit code 0 if two sweeps sent the lost message again, 1 if not, 2 if an
option is wrong. For pieces of one group that exceed the rate of a partition key, see npm run scale.
`

const { waiting } = readOptions({
  script: 'bench:backlog',
  help: HELP,
  options: {
    waiting: wholeNumber(0, 2_000_000).default(100_000),
  },
})

// Loading the services takes a second, so wrong options are refused before it.
const { mendLostMessage } = await import('./backlog.ts')

const count = (n: number) => n.toLocaleString('en')

const mended = await mendLostMessage({ waiting, lane: 'waiting', sweeps: 2 })
const former = await mendLostMessage({ waiting, lane: 'own', sweeps: 30 })
console.log(`A lost message behind ${count(waiting)} waiting pieces that have been due for longer:`)
console.log(`  sent again by sweep ${mended.sweep ?? 'none of 2'}`)
console.log(
  `  where earlier code put the waiting pieces, once after the deploy: by sweep ${former.sweep ?? 'none of 30'}; ${count(Math.round(former.swept / former.seconds))} records a second`,
)

const isMet = mended.sweep !== undefined && mended.sweep <= 2
console.log(isMet ? 'Nothing failed' : 'FAILED')
process.exitCode = isMet ? 0 : 1
