import { readOptions, wholeNumber } from '../options.ts'

const HELP = `Shows that backlogs do not delay other work, on a stand-in for DynamoDB in simulated time.

  npm run bench:backlog -- [options]

  --pieces N       pieces that are put into one aggregate (default: 16000)
  --rate N         writes that one partition key takes per second (default: 1000)
  --waiting N      pieces that wait beside a lost message (default: 100000)
  --help           print this

A call takes 10 ms. In a sweep, each call also takes 1 ms of the only processor; consumers compute in no time. Exit code 0
if no range of pieces failed and two sweeps sent the lost message again, 1 if not, 2 if an option is wrong.
`

const { pieces, rate, waiting } = readOptions({
  script: 'bench:backlog',
  help: HELP,
  options: {
    pieces: wholeNumber(1, 95_000).default(16_000),
    rate: wholeNumber(1, 100_000).default(1_000),
    waiting: wholeNumber(0, 2_000_000).default(100_000),
  },
})

// Loading the services takes a second, so wrong options are refused before it.
const { fanOut, mendLostMessage } = await import('./backlog.ts')

const count = (n: number) => n.toLocaleString('en')

const { list, include, included, throttled } = await fanOut({ pieces, writesPerSecond: rate })
console.log(`${count(pieces)} pieces of one group, ${count(rate)} writes a second at each partition key:`)
for (const [name, { runs, failed, seconds, longestSeconds, reason }] of [
  ['added to the list', list],
  ['included', include],
] as const) {
  console.log(
    `  ${name}: ${runs} runs, ${failed} failed; ${seconds.toFixed(1)} s in all, ${longestSeconds.toFixed(1)} s the longest run`,
  )
  if (reason !== undefined) console.log(`    ${reason}`)
}
console.log(`  ${count(throttled)} calls were throttled; ${count(included)} pieces have their receipts`)

const mended = await mendLostMessage({ waiting, lane: 'waiting', sweeps: 2 })
const former = await mendLostMessage({ waiting, lane: 'own', sweeps: 30 })
console.log(`A lost message behind ${count(waiting)} waiting pieces that have been due for longer:`)
console.log(`  sent again by sweep ${mended.sweep ?? 'none of 2'}`)
console.log(
  `  where earlier code put the waiting pieces, once after the deploy: by sweep ${former.sweep ?? 'none of 30'}; ${count(Math.round(former.swept / former.seconds))} records a second`,
)

const isMet =
  list.failed + include.failed === 0 && included === pieces && mended.sweep !== undefined && mended.sweep <= 2
console.log(isMet ? 'Nothing failed' : 'FAILED')
process.exitCode = isMet ? 0 : 1
